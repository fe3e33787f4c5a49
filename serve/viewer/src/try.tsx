// A picture of one's own: analysed by the endpoint, shown like a tile, kept nowhere.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchBlob, fetchJson, pathOf, type Crystal } from "./api";
import { useSession } from "./corrections";
import { CrystalPanel } from "./crystal";
import { useKeys } from "./hooks";
import { outlined, previewOf } from "./outlines";
import { Action, ShapeName, Trouble, number, save } from "./parts";
import { MicrographPicture, type Source } from "./picture";
import { shapesOf } from "./shapes";
import { Tools, useTool } from "./tools";

interface Analysed {
  file: File;
  query: Record<string, string>;
  crystals: Crystal[];
  pixelSizeUm: number | null;
  source: Source;
  drawn: boolean;
}

type Stage =
  | { name: "empty" }
  | { name: "working"; file: string }
  | { name: "failed"; error: Error }
  | { name: "done"; analysed: Analysed };

export function TryView() {
  const [stage, setStage] = useState<Stage>({ name: "empty" });
  const [size, setSize] = useState("");
  const stop = useRef<AbortController | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const session = useSession();
  useEffect(() => () => stop.current?.abort(), []);
  const start = (file: File) => {
    stop.current?.abort();
    const control = new AbortController();
    stop.current = control;
    setStage({ name: "working", file: file.name });
    analyse(file, size, control.signal).then(
      (analysed) => setStage({ name: "done", analysed }),
      (error: Error) => {
        if (error.name !== "AbortError") setStage({ name: "failed", error });
      },
    );
  };
  if (session && !session.scopes.includes("analyze"))
    return (
      <div class="trouble" role="alert">
        <p>
          The token of {session.name} may not analyse pictures. Ask for one with the scope “analyze”.
        </p>
      </div>
    );
  return (
    <>
      <h1>Try it on a picture</h1>
      <div
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          const file = event.dataTransfer?.files[0];
          if (file) start(file);
        }}
      >
        <p>
          Drop a micrograph here (TIFF, PNG or JPEG), or{" "}
          <button type="button" onClick={() => input.current?.click()}>
            choose a file
          </button>
          . It is analysed and forgotten; the catalogue does not change.
        </p>
        <input
          ref={input}
          type="file"
          class="for-readers"
          aria-label="Picture"
          accept=".tif,.tiff,.png,.jpg,.jpeg"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) start(file);
            event.currentTarget.value = "";
          }}
        />
        <label>
          Pixel size, if the file does not tell it:{" "}
          <input type="number" min="0" step="any" value={size} onInput={(event) => setSize(event.currentTarget.value)} /> µm
        </label>
      </div>
      {stage.name === "working" && (
        <div role="status">
          <p>
            {stage.file}: looking for crystals …
          </p>
          <progress aria-label="Progress" />{" "}
          <button
            type="button"
            onClick={() => {
              stop.current?.abort();
              setStage({ name: "empty" });
            }}
          >
            Cancel
          </button>
        </div>
      )}
      {stage.name === "failed" && <Trouble error={stage.error} />}
      {stage.name === "done" && <Result key={stage.analysed.source.url} analysed={stage.analysed} />}
    </>
  );
}

async function analyse(file: File, size: string, signal: AbortSignal): Promise<Analysed> {
  const query = { masks: "polygons", ...(size && { pixel_size_um: size }) };
  const result = await fetchJson<Answer>(pathOf(["analyze"], query), { method: "POST", body: formOf(file), signal });
  const own = URL.createObjectURL(file);
  const probe = new Image();
  probe.src = own;
  const drawn = await probe.decode().then(
    () => true,
    () => false,
  );
  return {
    file,
    query,
    crystals: result.crystals,
    pixelSizeUm: result.pixel_size_um,
    source: { url: drawn ? own : await ground(result.width, result.height) },
    drawn,
  };
}

interface Answer {
  crystals: Crystal[];
  pixel_size_um: number | null;
  width: number;
  height: number;
}

function formOf(file: File): FormData {
  const form = new FormData();
  form.append("image", file);
  return form;
}

/** A dark ground for the outlines of a picture that browsers do not draw. */
async function ground(width: number, height: number): Promise<string> {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#333";
  pen.fillRect(0, 0, width, height);
  return URL.createObjectURL(await canvas.convertToBlob());
}

function Result({ analysed }: { analysed: Analysed }) {
  const [crystals, setCrystals] = useState(analysed.crystals);
  const [chosen, setChosen] = useState<string[]>([]);
  const [hidden, setHidden] = useState<string[]>([]);
  const shapes = useMemo(() => shapesOf(analysed.crystals), []);
  const tool = useTool(async () => analysed.file, true, async () => {});
  const outlines = useMemo(() => crystals.map(outlined), [crystals]);
  const shown = useMemo(() => outlines.filter(({ shape }) => !hidden.includes(shape)), [outlines, hidden.join()]);
  const preview = useMemo(
    () => tool.preview.map((mask, i) => previewOf(mask, `new ${crystals.length + i}`)),
    [tool.preview],
  );
  const drawn = useMemo(() => [...shown, ...preview], [shown, preview]);
  const selected = useMemo(() => new Set([...chosen, ...preview.map(({ id }) => id)]), [chosen.join(), preview]);
  const keep = () => {
    if (!tool.preview.length) return;
    setCrystals([...crystals, ...preview.map(({ crystal }) => crystal)]);
    tool.stop();
  };
  useKeys({
    n: () => tool.start("add"),
    Enter: keep,
    Escape: () => (tool.kind ? tool.stop() : setChosen([])),
  });
  const selection = crystals.filter(({ crystal_id }) => chosen.includes(crystal_id!));
  const files: [string, string, string][] = [
    ["JSON", "application/json", "json"],
    ["Overlay", "image/png", "overlay.png"],
  ];
  return (
    <div class="tile">
      <div class="tile-picture">
        <h2>{analysed.file.name}</h2>
        {!analysed.drawn && (
          <p class="hint">Browsers do not draw TIFF: the outlines are shown without the picture.</p>
        )}
        <MicrographPicture
          source={analysed.source}
          pixelSizeUm={analysed.pixelSizeUm}
          crystals={drawn}
          shapes={shapes}
          selected={selected}
          tool={tool.kind !== null}
          marks={tool.marks}
          focus={null}
          onSelect={(crystal) => setChosen(crystal ? [crystal.id] : [])}
          onPoint={tool.addPoint}
          onBox={tool.addBox}
        />
      </div>
      <aside aria-label="Crystals">
        <p>
          <strong>{number(crystals.length)}</strong> crystals
        </p>
        <fieldset class="shapes">
          <legend>Shapes</legend>
          {shapes.map((shape) => (
            <label key={shape}>
              <input
                type="checkbox"
                checked={!hidden.includes(shape)}
                onChange={(event) =>
                  setHidden(event.currentTarget.checked ? hidden.filter((each) => each !== shape) : [...hidden, shape])
                }
              />
              <ShapeName shape={shape} shapes={shapes} />{" "}
              <span>{number(outlines.filter((each) => each.shape === shape).length)}</span>
            </label>
          ))}
        </fieldset>
        {selection.length > 0 && (
          <CrystalPanel
            selection={selection}
            crystals={crystals}
            shapes={shapes}
            mayCorrect={false}
            mayAnalyze={false}
            note=""
            onNote={() => {}}
            onName={() => {}}
            onAction={() => {}}
            onFocus={() => {}}
          />
        )}
        <Tools
          tool={{ ...tool, keep }}
          onAdd={() => tool.start("add")}
          onUndo={() => setCrystals(crystals.slice(0, -1))}
          mayUndo={crystals.length > analysed.crystals.length}
        />
        <div class="toolbar" role="group" aria-label="Exports">
          {files.map(([title, accept, ending]) => (
            <Action
              key={title}
              work={async () =>
                save(
                  await fetchBlob(pathOf(["analyze"], analysed.query), {
                    method: "POST",
                    body: formOf(analysed.file),
                    headers: { Accept: accept },
                  }),
                  `${analysed.file.name}.${ending}`,
                )
              }
            >
              {title}
            </Action>
          ))}
        </div>
      </aside>
    </div>
  );
}
