// The depth logs of up to four wells on one depth axis, and the tiles of a clicked depth.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { scaleLinear } from "d3-scale";
import {
  intervalAt,
  loadLog,
  loadNamed,
  logFile,
  textureAt,
  zoneAt,
  type LoggedWell,
  type Named,
} from "./depth_log";
import { stepFor } from "./depth_steps";
import { useData, useKeys, useWidth } from "./hooks";
import { LogTable, Values } from "./log_values";
import { Action, Nothing, Trouble, Waiting, metres, number, save } from "./parts";
import { addressOf, faultOfDepths, readRange, refine, writeRange } from "./route";
import { nameOf } from "./shapes";
import { pngFile, svgFile } from "./svg_file";
import { Thumbnails } from "./thumbnails";
import {
  AreaTrack,
  DepthAxis,
  NamedTrack,
  ShapeKey,
  ShapeTrack,
  SizeTrack,
  Tops,
  keyHeight,
  widestArea,
  widestSize,
  type Frame,
} from "./tracks";

const HEAD = 62;
const HEIGHT = 620;
const AXIS = 64;
const GAP = 10;
const MOST_WELLS = 4;
const LINGER_MS = 400;

export function LogView({ query }: { query: URLSearchParams }) {
  const names = query.getAll("well").slice(0, MOST_WELLS);
  const depth = query.get("depth");
  const flat = query.get("flat");
  const [whole, setWhole] = useState<[number, number] | null>(null);
  const fault = faultOfDepths(depth);
  const [low, high] = readRange(fault ? null : depth);
  const span = whole ? whole[1] - whole[0] : 0;
  const seen = (high ?? whole?.[1] ?? 0) - (low ?? whole?.[0] ?? 0);
  const step = whole && depth && !fault ? stepFor(seen, span) : null;
  const key = names.length ? `${names.join("\n")}\n${step}` : null;
  const { older: logs, error, reload, loading } = useData(key, () =>
    Promise.all(names.map((name) => loadLog(name, step))),
  );
  const ready = logs ? names.join("\n") : null;
  const { data: named, error: unnamed } = useData(ready, async () => {
    // They take the endpoint longer than the log, which a person may only pass by.
    await new Promise((go) => setTimeout(go, LINGER_MS));
    return Promise.all(names.map(loadNamed));
  });
  const schemes = [...new Set((named ?? []).flatMap(({ textures }) => textures.map(({ scheme }) => scheme)))];
  const asked = query.get("scheme");
  const shared = useMemo(() => sharedTops(logs ?? []), [logs]);
  const offsets = (logs ?? []).map(
    ({ tops }) => tops.find(({ formation }) => formation === flat)?.depth_m ?? 0,
  );
  useEffect(() => {
    if (logs && (!depth || !whole)) setWhole(extentOf(logs, offsets));
  }, [logs, depth, flat]);
  if (!names.length)
    return (
      <Nothing>
        <h1>Depth log</h1>
        <p>
          Choose up to four wells in the <a href="#/wells">list of wells</a>.
        </p>
      </Nothing>
    );
  if (error)
    return (
      <>
        <Trouble error={error} retry={reload} />
        {query.get("tiles") === "failed" && <Thumbnails well={names[0]!} depth={null} failed />}
      </>
    );
  if (!logs || !logs.length) return <Waiting what="the depth log" />;
  const extent = whole ?? extentOf(logs, offsets);
  const range: [number, number] = [low ?? extent[0], high ?? extent[1]];
  const beyond = range[0] >= extent[1] || range[1] <= extent[0];
  if (fault || beyond)
    return (
      <div class="trouble" role="alert">
        <p>
          {fault ??
            `depth ${depth}: no tiles there; they reach from ${metres(extent[0])} to ${metres(extent[1])} m`}
        </p>
        <a href={addressOf("log", { well: names, flat })}>The whole log</a>
      </div>
    );
  return (
    <>
      <h1>{names.join(", ")}</h1>
      <Drawing
        logs={logs}
        offsets={offsets}
        extent={extent}
        range={range}
        flat={flat}
        shared={shared}
        step={step}
        loading={loading}
        named={named ?? []}
        schemes={schemes}
        scheme={asked !== null && schemes.includes(asked) ? asked : (schemes[0] ?? "")}
      />
      {unnamed && <p class="hint">No textures and zones: {unnamed.message}</p>}
      <TilesAtDepth query={query} logs={logs} />
    </>
  );
}

interface DrawingProps {
  logs: LoggedWell[];
  offsets: number[];
  extent: [number, number];
  range: [number, number];
  flat: string | null;
  shared: string[];
  step: number | null;
  loading: boolean;
  named: Named[];
  /** Schemes that name textures, and the one in use. */
  schemes: string[];
  scheme: string;
}

function Drawing(props: DrawingProps) {
  const { logs, offsets, extent, range, flat, shared, step, named, schemes, scheme } = props;
  const [attach, width] = useWidth();
  const svg = useRef<SVGSVGElement>(null);
  const [pointed, setPointed] = useState<{ well: number; depth: number; y: number; atLeft: boolean } | null>(null);
  const dragged = useRef<{ y: number; range: [number, number]; moved: boolean } | null>(null);
  const shapes = logs[0]!.shapes;
  const namedOf = (well: string) => named.find((each) => each.well === well);
  const frame: Frame = {
    y: scaleLinear(range, [HEAD, HEAD + HEIGHT]),
    height: HEIGHT,
    head: HEAD,
  };
  const panel = Math.max(230, (width - AXIS) / logs.length);
  const drawn = AXIS + panel * logs.length;
  const sizes = widestSize(logs);
  const areas = widestArea(logs);

  const show = (low: number, high: number) => {
    const least = Math.min(0.05, extent[1] - extent[0]);
    const long = Math.max(least, Math.min(high - low, extent[1] - extent[0]));
    const top = Math.max(extent[0], Math.min(low, extent[1] - long));
    const all = long >= (extent[1] - extent[0]) * 0.999;
    refine({ depth: all ? null : writeRange(round(top), round(top + long)) });
  };
  const zoom = (factor: number, at = (range[0] + range[1]) / 2) =>
    show(at - (at - range[0]) * factor, at + (range[1] - at) * factor);
  const move = (share: number) => {
    const by = (range[1] - range[0]) * share;
    show(range[0] + by, range[1] + by);
  };
  useKeys({
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    "0": () => refine({ depth: null }),
    ArrowUp: () => move(-0.2),
    ArrowDown: () => move(0.2),
  });
  useEffect(() => {
    const element = svg.current;
    if (!element) return;
    // Not passive, so that the page does not scroll as well.
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const y = event.clientY - element.getBoundingClientRect().top;
      zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, frame.y.invert(y));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const place = (event: PointerEvent) => {
    const box = svg.current!.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const well = Math.floor((x - AXIS) / panel);
    const inside = y >= HEAD && y <= HEAD + HEIGHT && well >= 0 && well < logs.length;
    return inside ? { well, depth: frame.y.invert(y) + offsets[well]!, y, atLeft: x < drawn / 2 } : null;
  };
  const over = pointed && logs[pointed.well];
  const interval = over ? intervalAt(over.intervals, pointed.depth) : null;
  return (
    <section aria-label="Depth log">
      <div class="toolbar">
        <button type="button" onClick={() => zoom(0.5)} aria-label="Zoom in">+</button>
        <button type="button" onClick={() => zoom(2)} aria-label="Zoom out">−</button>
        <button type="button" onClick={() => refine({ depth: null })}>Whole well</button>
        {shared.length > 0 && (
          <label>
            Flatten on{" "}
            <select
              value={flat ?? ""}
              onChange={(event) => refine({ flat: event.currentTarget.value || null, depth: null })}
            >
              <option value="">nothing</option>
              {shared.map((formation) => (
                <option key={formation}>{formation}</option>
              ))}
            </select>
          </label>
        )}
        {schemes.length > 0 && (
          <label>
            Textures by{" "}
            <select value={scheme} onChange={(event) => refine({ scheme: event.currentTarget.value })}>
              {schemes.map((each) => (
                <option key={each} value={each}>{nameOf(each)}</option>
              ))}
            </select>
          </label>
        )}
        <span class="exports">
          <Action work={async () => save(await pngFile(svg.current!), `${fileName(logs)}.png`)}>PNG</Action>
          <Action work={async () => save(svgFile(svg.current!), `${fileName(logs)}.svg`)}>SVG</Action>
          {(["csv", "las"] as const).map((kind) => (
            <Action
              key={kind}
              work={async () => {
                const type = kind === "csv" ? "text/csv" : "text/plain";
                for (const { well } of logs) save(await logFile(well, step, type), `${well}.${kind}`);
              }}
            >
              {kind.toUpperCase()}
            </Action>
          ))}
        </span>
      </div>
      <div class="log" ref={attach}>
        {width > 0 && (
          <svg
            ref={svg}
            width={drawn}
            height={HEAD + HEIGHT + 8 + keyHeight(shapes, drawn - AXIS)}
            role="img"
            aria-label={describe(logs)}
            aria-busy={props.loading}
            onPointerMove={(event) => {
              const drag = dragged.current;
              if (drag) {
                const by = ((event.clientY - drag.y) / HEIGHT) * (drag.range[1] - drag.range[0]);
                if (Math.abs(event.clientY - drag.y) > 4) drag.moved = true;
                if (drag.moved) show(drag.range[0] - by, drag.range[1] - by);
              }
              setPointed(place(event));
            }}
            onPointerLeave={() => setPointed(null)}
            onPointerDown={(event) => {
              dragged.current = { y: event.clientY, range, moved: false };
              svg.current!.setPointerCapture(event.pointerId);
            }}
            onPointerUp={(event) => {
              const drag = dragged.current;
              dragged.current = null;
              const at = place(event);
              if (at && !drag?.moved) openDepth(logs[at.well]!, at.depth);
            }}
          >
            <defs>
              <clipPath id="plot">
                <rect x="0" y={HEAD} width={drawn} height={HEIGHT} />
              </clipPath>
            </defs>
            {logs.map((log, index) => {
              const left = AXIS + panel * index;
              const wide = panel - GAP;
              const names = namedOf(log.well);
              const label = names ? Math.min(140, wide * 0.24) : 0;
              const rest = wide - label - (label ? GAP : 0) - 2 * GAP;
              const common = { log, frame, offset: offsets[index]! };
              return (
                <g key={log.well}>
                  <text x={left} y={16} class="well-title">{log.well}</text>
                  <ShapeTrack {...common} left={left} width={rest * 0.44} />
                  <SizeTrack {...common} left={left + rest * 0.44 + GAP} width={rest * 0.33} most={sizes} />
                  <AreaTrack {...common} left={left + rest * 0.77 + 2 * GAP} width={rest * 0.23} most={areas} />
                  {names && (
                    <NamedTrack {...common} named={names} scheme={scheme} left={left + rest + 3 * GAP} width={label} />
                  )}
                  <Tops {...common} left={left} width={wide} />
                </g>
              );
            })}
            <DepthAxis
              frame={frame}
              left={AXIS}
              width={drawn - AXIS - GAP}
              title={flat ? "From top" : "Depth, m"}
            />
            <ShapeKey shapes={shapes} left={AXIS} top={HEAD + HEIGHT + 8} width={drawn - AXIS} />
            {pointed && (
              <line data-pointer x1={AXIS} x2={drawn} y1={pointed.y} y2={pointed.y} class="pointer" />
            )}
          </svg>
        )}
        {over && pointed && (
          <Values
            log={over}
            interval={interval}
            depth={pointed.depth}
            right={pointed.atLeft}
            texture={textureAt(namedOf(over.well), scheme, pointed.depth)}
            zone={zoneAt(namedOf(over.well), pointed.depth)}
          />
        )}
      </div>
      <p class="hint">
        Click a depth to see its tiles. Drag to move; Ctrl and the wheel, or + and −, to zoom.
      </p>
      <LogTable logs={logs} />
    </section>
  );
}

function openDepth(log: LoggedWell, depth: number): void {
  const interval = intervalAt(log.intervals, depth);
  refine({ at: interval ? `${log.well}@${interval.depth_top}:${interval.depth_base}` : null, tiles: null });
}

function TilesAtDepth({ query, logs }: { query: URLSearchParams; logs: LoggedWell[] }) {
  const section = useRef<HTMLElement>(null);
  const at = query.get("at");
  const failed = query.get("tiles") === "failed";
  useEffect(() => {
    if (at) section.current?.scrollIntoView({ behavior: "smooth", block: "nearest" });
  }, [at]);
  if (!at && !failed) return null;
  const cut = at?.lastIndexOf("@") ?? -1;
  const well = at ? at.slice(0, cut) : logs[0]!.well;
  return (
    <section ref={section} aria-label="Tiles">
      <Thumbnails well={well} depth={at ? at.slice(cut + 1) : null} failed={failed} />
    </section>
  );
}

function extentOf(logs: LoggedWell[], offsets: number[]): [number, number] {
  const tops = logs.map(({ intervals }, index) => (intervals[0]?.depth_top ?? 0) - offsets[index]!);
  const bases = logs.map(
    ({ intervals }, index) => (intervals.at(-1)?.depth_base ?? 1) - offsets[index]!,
  );
  return [Math.min(...tops), Math.max(...bases)];
}

function sharedTops(logs: LoggedWell[]): string[] {
  const [first, ...others] = logs.map(({ tops }) => tops.map(({ formation }) => formation));
  return (first ?? []).filter((formation) => others.every((tops) => tops.includes(formation)));
}

function describe(logs: LoggedWell[]): string {
  return logs
    .map(({ well, intervals }) => {
      const crystals = intervals.reduce((sum, each) => sum + Number(each.n_crystals ?? 0), 0);
      const [top, base] = [intervals[0]?.depth_top, intervals.at(-1)?.depth_base];
      return `Depth log of ${well} from ${metres(top as number)} to ${metres(base as number)} metres, ${number(crystals)} crystals`;
    })
    .join("; ");
}

function fileName(logs: LoggedWell[]): string {
  return logs.map(({ well }) => well).join("_");
}

function round(depth: number): number {
  return Number(depth.toFixed(3));
}
