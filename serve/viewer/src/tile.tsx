// One tile: the micrograph with its crystals, filters, measures, exports and corrections.
import { useEffect, useMemo, useState } from "preact/hooks";
import { ask, endpoint, fetchBlob, fetchJson, pathOf, type Crystal, type Tile } from "./api";
import {
  changed,
  conflictOf,
  correct,
  lastChange,
  noteLoaded,
  undo,
  useSession,
  type Change,
  type Operation,
} from "./corrections";
import { CrystalPanel } from "./crystal";
import { useData, useKeys } from "./hooks";
import { outlined, previewOf } from "./outlines";
import { Action, Nothing, RangeSlider, ShapeToggles, Trouble, Waiting, metres, number, percent, save } from "./parts";
import { MicrographPicture, type Box, type Source } from "./picture";
import { addressOf, readRange, refine, writeRange } from "./route";
import { shapesOf } from "./shapes";
import { Tools, useTool, type ToolKind } from "./tools";

interface Loaded {
  tile: Tile;
  crystals: Crystal[];
  source: Source | null;
  trouble: Error | null;
  shapes: string[];
}

async function loadTile(id: string, well: string | null): Promise<Loaded> {
  const query = { well: well ?? undefined, corrected: true, masks: "polygons" as const };
  const answer = ask(
    endpoint.GET("/v1/tiles/{tile_id}/crystals", { params: { path: { tile_id: id }, query } }),
  );
  const search = new URLSearchParams(well ? { well } : {}).toString();
  // The crystals of a tile can be read also when its picture is gone.
  const picture = fetchJson<Record<string, unknown>>(`${pathOf(["iiif", id, "info.json"])}?${search}`).then(
    (info) => {
      // Behind a proxy, the endpoint may know itself by another address.
      const here = { ...info, id: location.origin + pathOf(["iiif", id]) };
      return { source: { iiif: { info: here, query: search } }, trouble: null };
    },
    (trouble: Error) => ({ source: null, trouble }),
  );
  const { tile, crystals } = await answer;
  noteLoaded(crystals);
  return { tile, crystals, shapes: shapesOf(crystals), ...(await picture) };
}

export function TileView({ query }: { query: URLSearchParams }) {
  const id = query.get("tile");
  const well = query.get("well");
  const { data, error, reload } = useData(id && `${well}\n${id}`, () => loadTile(id!, well));
  if (!id)
    return (
      <Nothing>
        <h1>No tile</h1>
        <p>
          Choose a <a href="#/wells">well</a>, then click a depth of its log.
        </p>
      </Nothing>
    );
  if (error) return <Trouble error={error} retry={reload} />;
  if (!data) return <Waiting what="the tile" />;
  return <LoadedTile key={id} {...data} query={query} reload={reload} />;
}

function LoadedTile(props: Loaded & { query: URLSearchParams; reload: () => void }) {
  const { tile, source, query } = props;
  const place = { tile_id: tile.tile_id!, well: tile.well! };
  const session = useSession().data;
  const models = useData("models", () => ask(endpoint.GET("/v1/models"))).data;
  const shapes = props.shapes.length ? props.shapes : (models?.shapes ?? []);
  const mayCorrect = session?.scopes.includes("correct") ?? false;
  const [crystals, setCrystals] = useState(props.crystals);
  const [said, setSaid] = useState<{ text: string; bad: boolean } | null>(null);
  const [focus, setFocus] = useState<Box | null>(null);
  const [note, setNote] = useState("");
  const hidden = new Set(query.getAll("hide"));
  const chosen = query.getAll("crystal");
  const sizes = useMemo(() => largest(crystals), [crystals]);
  const outlines = useMemo(() => crystals.map(outlined), [crystals]);
  const filters = [query.getAll("hide").join(), query.get("confidence"), query.get("size")].join("\n");
  const shown = useMemo(() => {
    const [leastSure, mostSure] = readRange(query.get("confidence"));
    const [small, large] = readRange(query.get("size"));
    return outlines.filter(({ crystal, shape }) => {
      const sure = crystal.confidence ?? 0;
      const size = sizeOf(crystal);
      return (
        !hidden.has(shape) &&
        sure >= (leastSure ?? 0) &&
        sure <= (mostSure ?? 1) &&
        (size === null || (size >= (small ?? 0) && size <= (large ?? Infinity)))
      );
    });
  }, [outlines, filters]);
  const selected = useMemo(() => new Set(chosen), [chosen.join()]);
  const selection = crystals.filter((crystal) => selected.has(crystal.crystal_id!));

  const apply = (change: Change | null, text: string) => {
    if (!change) return;
    setCrystals((now) => changed(now, change, place.tile_id));
    const conflict = conflictOf(change);
    setSaid({ text: `${text} ${conflict}`.trim(), bad: conflict !== "" });
    const gone = new Set(change.removed);
    const left = chosen.filter((each) => !gone.has(each));
    const added = change.crystals.map(({ crystal_id }) => crystal_id!);
    if (left.length !== chosen.length) refine({ crystal: added.length ? added : left });
  };
  const run = (work: Promise<Change | null>, text: string) =>
    work.then(
      (change) => apply(change, text),
      (error: Error) => setSaid({ text: error.message, bad: true }),
    );
  const change = (action: Operation, of: Crystal[], more = {}, text = "Saved.") => {
    const written = note.trim();
    setNote("");
    return run(correct(action, place, of, { ...more, ...(written && { note: written }) }), text);
  };
  const picture = () => fetchBlob(pathOf(["tiles", tile.tile_id!, "image"], { well: tile.well }));
  const tool = useTool(picture, models?.segmenter_prompts ?? true, (kind, masks) => {
    if (kind === "add") return change("add", [], { masks }, "Crystal added.");
    return change(kind, selection, { masks }, kind === "redraw" ? "Outline replaced." : "Crystal split.");
  });
  const preview = useMemo(() => tool.preview.map((mask, index) => previewOf(mask, `preview ${index}`)), [tool.preview]);
  const drawn = useMemo(() => (preview.length ? [...shown, ...preview] : shown), [shown, preview]);
  const highlighted = useMemo(
    () => (preview.length ? new Set(preview.map(({ id }) => id)) : selected),
    [preview, selected],
  );
  const name = (shape: string) => {
    if (selection.length)
      void change("shape", selection, { shape }, `${number(selection.length)} named ${shape.replaceAll("_", " ")}.`);
  };
  const start = (kind: ToolKind) => tool.start(kind);
  const undoLast = () => {
    const latest = lastChange(place.tile_id);
    if (latest !== undefined) void run(undo(latest), "Undone.");
  };
  useKeys({
    ...(mayCorrect && tool.kind && { Enter: () => tool.keep() }),
    ...(mayCorrect && !tool.kind && {
      ...Object.fromEntries(shapes.map((shape, index) => [String(index + 1), () => name(shape)])),
      d: () => selection.length > 0 && void change("delete", selection, {}, "Deleted."),
      Delete: () => selection.length > 0 && void change("delete", selection, {}, "Deleted."),
      m: () => selection.length > 1 && void change("merge", selection, {}, "Merged."),
      r: () => selection.length === 1 && start("redraw"),
      x: () => selection.length === 1 && start("split"),
      n: () => start("add"),
      z: undoLast,
    }),
    Escape: () => (tool.kind ? tool.stop() : refine({ crystal: [] })),
    ".": () => next(1),
    ",": () => next(-1),
  });
  const next = (by: number) => {
    if (!shown.length) return;
    const at = shown.findIndex(({ id }) => selected.has(id));
    const to = shown[(at + by + shown.length) % shown.length]!;
    refine({ crystal: [to.id] });
    setFocus(to.box);
  };
  useEffect(() => {
    const first = outlines.find(({ id }) => selected.has(id));
    if (first) setFocus(first.box);
  }, []);
  return (
    <div class="tile">
      <div class="tile-picture">
        <h1>
          <a href={addressOf("log", { well: tile.well })}>{tile.well}</a>, {metres(tile.depth_m)} m
        </h1>
        {source ? (
          <MicrographPicture
            source={source}
            pixelSizeUm={tile.pixel_size_um ?? null}
            crystals={drawn}
            shapes={shapes}
            selected={highlighted}
            tool={tool.kind !== null}
            marks={tool.marks}
            focus={focus}
            onSelect={(crystal, further) => {
              const id = crystal?.id;
              if (!id) return refine({ crystal: [] });
              if (!further) return refine({ crystal: [id] });
              refine({ crystal: selected.has(id) ? chosen.filter((each) => each !== id) : [...chosen, id] });
            }}
            onPoint={tool.addPoint}
            onBox={tool.addBox}
          />
        ) : (
          <Trouble error={props.trouble!} retry={props.reload} />
        )}
        <p class="hint">
          Click a crystal; Shift and click for several. <kbd>,</kbd> and <kbd>.</kbd> go from crystal to
          crystal, <kbd>Esc</kbd> to none.
        </p>
      </div>
      <aside aria-label="Crystals">
        {tile.status === "failed" && (
          <p class="trouble" role="alert">
            The scan of this tile failed: {tile.error}
          </p>
        )}
        <p role="status" class={said?.bad ? "said bad" : "said"}>
          {said?.text}
        </p>
        {selection.length > 0 && (
          <CrystalPanel
            selection={selection}
            shapes={shapes}
            mayCorrect={mayCorrect}
            mayAnalyze={session?.scopes.includes("analyze") ?? false}
            note={note}
            onNote={setNote}
            onName={name}
            onAction={(action) =>
              action === "redraw" || action === "split"
                ? start(action)
                : void change(action, selection, {}, action === "delete" ? "Deleted." : "Merged.")
            }
            onFocus={(crystal) => {
              refine({ crystal: [crystal.crystal_id!] });
              setFocus(outlined(crystal).box);
            }}
          />
        )}
        <p>
          <strong>{number(shown.length)}</strong> of {number(crystals.length)} crystals shown
          {outlines.some(({ corrected }) => corrected) && "; corrected ones have dashed outlines"}
        </p>
        <ShapeToggles shapes={shapes} of={outlines} hidden={[...hidden]} onHide={(hide) => refine({ hide })} />
        <Slider query={query} name="confidence" label="Confidence" unit="" most={1} step={0.01} />
        <Slider
          query={query}
          name="size"
          label="Diameter"
          unit={sizes.unit}
          most={sizes.most}
          step={sizes.most / 100}
        />
        {mayCorrect ? (
          <Tools
            tool={tool}
            onAdd={() => start("add")}
            onUndo={undoLast}
            mayUndo={lastChange(place.tile_id) !== undefined}
          />
        ) : (
          session && <p class="hint">This token may look, but not correct (scope “correct”).</p>
        )}
        <Exports tile={tile} />
        <Facts tile={tile} />
      </aside>
    </div>
  );
}

function Slider(props: {
  query: URLSearchParams; name: string; label: string; unit: string; most: number; step: number;
}) {
  const [low, high] = readRange(props.query.get(props.name));
  return (
    <RangeSlider
      label={props.label}
      unit={props.unit}
      least={0}
      most={props.most}
      step={props.step}
      low={low}
      high={high}
      onChange={(least, most) => refine({ [props.name]: writeRange(least, most) })}
    />
  );
}

function sizeOf(crystal: Crystal): number | null {
  return crystal.equivalent_diameter_um ?? crystal.equivalent_diameter_px ?? null;
}

function largest(crystals: Crystal[]): { most: number; unit: string } {
  const most = crystals.reduce((most, crystal) => Math.max(most, sizeOf(crystal) ?? 0), 0);
  const measured = crystals.some(({ equivalent_diameter_um }) => equivalent_diameter_um != null);
  return { most: Math.ceil(most * 10) / 10 || 1, unit: measured || !crystals.length ? "µm" : "px" };
}

function Exports({ tile }: { tile: Tile }) {
  const path = (part: string) =>
    pathOf(["tiles", tile.tile_id!, part], { well: tile.well, corrected: true });
  const name = `${tile.well}_${tile.depth_m}_${tile.tile_id!.slice(0, 8)}`;
  const files: [string, string, string, string][] = [
    ["GeoJSON", "crystals", "application/geo+json", "geojson"],
    ["CSV", "crystals", "text/csv", "csv"],
    ["Labels", "labels", "image/png", "labels.png"],
    ["Overlay", "overlay", "image/png", "overlay.png"],
  ];
  return (
    <div class="toolbar" role="group" aria-label="Exports">
      {files.map(([title, part, accept, ending]) => (
        <Action
          key={title}
          work={async () => save(await fetchBlob(path(part), { headers: { Accept: accept } }), `${name}.${ending}`)}
        >
          {title}
        </Action>
      ))}
    </div>
  );
}

function Facts({ tile }: { tile: Tile }) {
  return (
    <details>
      <summary>About this tile</summary>
      <dl>
        <dt>File</dt>
        <dd><code>{tile.uri}</code></dd>
        <dt>Size</dt>
        <dd>{number(tile.width)} × {number(tile.height)} pixels</dd>
        <dt>Pixel</dt>
        <dd>{tile.pixel_size_um ? `${number(tile.pixel_size_um, 4)} µm (${tile.pixel_size_source})` : "size unknown"}</dd>
        <dt>Crystal area</dt>
        <dd>{percent(tile.crystal_area_fraction)}</dd>
        <dt>Segmenter</dt>
        <dd>{tile.segmenter}</dd>
        <dt>Classifier</dt>
        <dd>{tile.classifier}</dd>
        <dt>Scanned</dt>
        <dd>{tile.scanned_at?.slice(0, 16).replace("T", " ")}</dd>
      </dl>
    </details>
  );
}
