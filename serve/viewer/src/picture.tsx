// A micrograph that is panned and zoomed, with outlines, a scale bar, clicks and boxes.
import OpenSeadragon from "openseadragon";
import { useEffect, useRef, useState } from "preact/hooks";
import { authorization } from "./api";
import { OutlineLayer } from "./outline_layer";
import { crystalAt, type Outlined } from "./outlines";

export type Point = [number, number];
export type Box = [number, number, number, number];

export interface Source {
  /** An address of an IIIF information document, or of a plain picture in this page. */
  iiif?: { info: Record<string, unknown>; query: string };
  url?: string;
  /** Size of the whole picture, pixels, if that at `url` is a reduced one. */
  size?: { width: number; height: number };
}

interface Props {
  source: Source;
  pixelSizeUm: number | null;
  crystals: Outlined[];
  shapes: string[];
  selected: Set<string>;
  /** With a tool, clicks and dragged boxes are prompts instead of selections. */
  tool: boolean;
  marks: { points: Point[]; off: Point[]; boxes: Box[] };
  onSelect: (crystal: Outlined | null, further: boolean) => void;
  onPoint: (point: Point, off: boolean) => void;
  onBox: (box: Box) => void;
  focus: Box | null;
}

export function MicrographPicture(props: Props) {
  const element = useRef<HTMLDivElement>(null);
  const viewer = useRef<OpenSeadragon.Viewer | null>(null);
  const layer = useRef<OutlineLayer | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [scale, setScale] = useState<number | null>(null);
  const [dragged, setDragged] = useState<Box | null>(null);
  const [broken, setBroken] = useState("");
  const { source } = props;

  useEffect(() => {
    setBroken("");
    forbidStyleSheet();
    const made = new OpenSeadragon.Viewer({
      element: element.current!,
      tileSources: sourceFor(source) as never,
      loadTilesWithAjax: Boolean(source.iiif),
      ajaxHeaders: authorization(),
      drawer: "canvas",
      imageLoaderLimit: 6,
      showNavigationControl: false,
      showNavigator: false,
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.4,
      animationTime: 0.35,
      imageSmoothingEnabled: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      tabIndex: 0,
    } as OpenSeadragon.Options);
    viewer.current = made;
    const outlines = new OutlineLayer(made);
    layer.current = outlines;
    (element.current as unknown as { viewer: unknown }).viewer = made;
    made.canvas.setAttribute("aria-label", "Micrograph; arrow keys move, plus and minus zoom");
    made.canvas.setAttribute("role", "application");
    const measure = () => setScale(outlines.place()?.scale ?? null);
    made.addHandler("animation-finish", measure);
    made.addHandler("resize", measure);
    made.addHandler("open", () => {
      measure();
      const { crystals, shapes, selected } = latest.current;
      outlines.show(crystals, shapes, selected);
      if (latest.current.focus) zoomTo(made, latest.current.focus);
    });
    made.addHandler("open-failed", () => setBroken("The picture of this tile could not be opened."));
    made.addHandler("tile-load-failed", () => setBroken("Part of the picture did not come; the endpoint may be busy or gone."));
    made.addHandler("tile-loaded", () => setBroken(""));
    const pixelAt = (position: OpenSeadragon.Point): Point => {
      const image = made.world.getItemAt(0);
      const point = image.viewerElementToImageCoordinates(position);
      return [point.x, point.y];
    };
    made.addHandler("canvas-click", (event) => {
      if (!event.quick || !made.world.getItemCount()) return;
      const { tool, crystals, onPoint, onSelect } = latest.current;
      const pointer = event.originalEvent as MouseEvent;
      const [x, y] = pixelAt(event.position);
      event.preventDefaultAction = true;
      if (tool) onPoint([x, y], pointer.altKey || pointer.shiftKey);
      else onSelect(crystalAt(crystals, x, y), pointer.shiftKey || pointer.ctrlKey);
    });
    // The library turns and flips pictures by keys that name and correct crystals here.
    made.addHandler("canvas-key", (event) => {
      const { key } = event.originalEvent as KeyboardEvent;
      if (!key.startsWith("Arrow") && !"+-=_0".includes(key)) event.preventDefaultAction = true;
    });
    let start: Point | null = null;
    made.addHandler("canvas-press", (event) => {
      const pointer = event.originalEvent as MouseEvent;
      const boxes = latest.current.tool && !pointer.ctrlKey && made.world.getItemCount();
      start = boxes ? pixelAt(event.position) : null;
    });
    made.addHandler("canvas-drag", (event) => {
      if (!start) return;
      event.preventDefaultAction = true;
      setDragged(boxOf(start, pixelAt(event.position)));
    });
    made.addHandler("canvas-drag-end", (event) => {
      if (!start) return;
      event.preventDefaultAction = true;
      const box = boxOf(start, pixelAt(event.position));
      start = null;
      setDragged(null);
      if (box[2] - box[0] > 3 && box[3] - box[1] > 3) latest.current.onBox(box);
    });
    return () => made.destroy();
  }, [source]);

  useEffect(() => {
    layer.current?.show(props.crystals, props.shapes, props.selected);
  }, [props.crystals, props.shapes, props.selected]);
  useEffect(() => {
    if (props.focus && viewer.current?.world.getItemCount()) zoomTo(viewer.current, props.focus);
  }, [props.focus]);

  return (
    <div class={`picture ${props.tool ? "with-tool" : ""}`}>
      <div class="viewer" ref={element} />
      <Marks viewer={viewer} marks={props.marks} dragged={dragged} scale={scale} />
      {scale !== null && <ScaleBar scale={scale} pixelSizeUm={props.pixelSizeUm} />}
      <div class="zoom">
        <button type="button" aria-label="Zoom in" onClick={() => viewer.current?.viewport.zoomBy(1.6)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => viewer.current?.viewport.zoomBy(1 / 1.6)}>
          −
        </button>
        <button type="button" aria-label="Whole tile" onClick={() => viewer.current?.viewport.goHome()}>
          ⤢
        </button>
      </div>
      {broken && (
        <p class="picture-trouble" role="alert">
          {broken}
        </p>
      )}
    </div>
  );
}

/** The library adds a style sheet, which the policy of the page forbids, unless it finds this mark. */
function forbidStyleSheet(): void {
  const name = "data-openseadragon-mobile-css";
  if (document.querySelector(`style[${name}]`)) return;
  const mark = document.createElementNS("urn:mcn:mark", "style");
  mark.setAttribute(name, "");
  document.head.append(mark);
}

function sourceFor({ iiif, url, size }: Source): unknown {
  if (size) {
    const whole = { ...size, tileSize: Math.max(size.width, size.height), minLevel: 0, maxLevel: 0 };
    return { ...whole, getTileUrl: () => url };
  }
  if (!iiif) return { type: "image", url };
  const source = new OpenSeadragon.IIIFTileSource(iiif.info as never);
  const getTileUrl = source.getTileUrl.bind(source);
  source.getTileUrl = (level, x, y) => `${getTileUrl(level, x, y) as string}?${iiif.query}`;
  return source;
}

function zoomTo(viewer: OpenSeadragon.Viewer, [left, top, right, bottom]: Box): void {
  const margin = 2.2 * Math.max(right - left, bottom - top);
  const image = viewer.world.getItemAt(0);
  const box = image.imageToViewportRectangle(
    left - margin,
    top - margin,
    right - left + 2 * margin,
    bottom - top + 2 * margin,
  );
  viewer.viewport.fitBounds(box);
}

function boxOf([ax, ay]: Point, [bx, by]: Point): Box {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}

/** Clicks and boxes of a person that are not yet a crystal. */
function Marks(props: {
  viewer: { current: OpenSeadragon.Viewer | null };
  marks: Props["marks"];
  dragged: Box | null;
  scale: number | null;
}) {
  const [, redraw] = useState(0);
  const { points, off, boxes } = props.marks;
  const any = points.length + off.length + boxes.length > 0 || props.dragged !== null;
  useEffect(() => {
    const viewer = props.viewer.current;
    if (!viewer || !any) return;
    const follow = () => redraw((count) => count + 1);
    viewer.addHandler("update-viewport", follow);
    return () => viewer.removeHandler("update-viewport", follow);
  }, [any, props.viewer.current]);
  const image = props.viewer.current?.world.getItemAt(0);
  if (!image || !any) return null;
  const at = ([x, y]: Point) => image.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
  return (
    <svg class="marks" aria-hidden="true">
      {[...boxes, ...(props.dragged ? [props.dragged] : [])].map(([left, top, right, bottom]) => {
        const [a, b] = [at([left, top]), at([right, bottom])];
        return <rect key={`${left} ${top}`} x={a.x} y={a.y} width={b.x - a.x} height={b.y - a.y} />;
      })}
      {points.map((point) => (
        <circle key={point.join()} cx={at(point).x} cy={at(point).y} r="5" class="on" />
      ))}
      {off.map((point) => (
        <circle key={point.join()} cx={at(point).x} cy={at(point).y} r="5" class="off" />
      ))}
    </svg>
  );
}

function ScaleBar({ scale, pixelSizeUm }: { scale: number; pixelSizeUm: number | null }) {
  if (!pixelSizeUm) return <div class="scale-bar">pixel size unknown</div>;
  const widest = (140 * pixelSizeUm) / scale;
  const power = 10 ** Math.floor(Math.log10(widest));
  const length = [5, 2, 1].map((factor) => factor * power).find((each) => each <= widest)!;
  const label = length < 1 ? `${Math.round(length * 1000)} nm` : `${length} µm`;
  const width = (length / pixelSizeUm) * scale;
  return (
    <div class="scale-bar">
      <span>{label}</span>
      <i style={{ width: `${width}px` }} />
    </div>
  );
}
