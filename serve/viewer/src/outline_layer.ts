// Outlines of crystals over a picture that is panned and zoomed.
//
// Thousands of outlines take longer to draw than a frame lasts. They are drawn once on a canvas
// wider than the view; while the view moves, only that canvas is moved and scaled, and it is drawn
// again when the view rests or leaves it.
import OpenSeadragon from "openseadragon";
import type { Outlined } from "./outlines";
import { colourOf } from "./shapes";

const MARGIN = 0.25;
const REST_MS = 140;
const MOST_STRETCH = 1.8;

interface Place {
  scale: number;
  left: number;
  top: number;
}

/** The layer of outlines of a viewer. */
export class OutlineLayer {
  private readonly canvas = document.createElement("canvas");
  private crystals: Outlined[] = [];
  private shapes: string[] = [];
  private selected = new Set<string>();
  private drawnAt: Place | null = null;
  private rest = 0;

  constructor(private readonly viewer: OpenSeadragon.Viewer) {
    this.canvas.className = "outlines";
    this.canvas.setAttribute("aria-hidden", "true");
    viewer.canvas.append(this.canvas);
    viewer.addHandler("update-viewport", () => this.follow());
    viewer.addHandler("resize", () => this.draw());
    viewer.addHandler("open", () => this.draw());
  }

  show(crystals: Outlined[], shapes: string[], selected: Set<string>): void {
    [this.crystals, this.shapes, this.selected] = [crystals, shapes, selected];
    this.draw();
  }

  /** Pixels of the screen for each pixel of the picture, and where its corner is. */
  place(): Place | null {
    const image = this.viewer.world.getItemAt(0);
    if (!image) return null;
    const at = (x: number, y: number) =>
      this.viewer.viewport.pixelFromPoint(
        image.imageToViewportCoordinates(x, y, true),
        true,
      );
    const { x: width } = image.getContentSize();
    const corner = at(0, 0);
    return { scale: (at(width, 0).x - corner.x) / width, left: corner.x, top: corner.y };
  }

  private follow(): void {
    const place = this.place();
    if (!place) return;
    const drawn = this.drawnAt;
    if (!drawn) return this.draw();
    const stretch = place.scale / drawn.scale;
    const { clientWidth: width, clientHeight: height } = this.viewer.container;
    const left = place.left - drawn.left * stretch;
    const top = place.top - drawn.top * stretch;
    const outside =
      left - MARGIN * width * stretch > 0 ||
      top - MARGIN * height * stretch > 0 ||
      left + (1 + MARGIN) * width * stretch < width ||
      top + (1 + MARGIN) * height * stretch < height;
    // A zoomed-out canvas does not fill the view, but shows all that was drawn until the rest.
    const leaves = outside && stretch > 0.999;
    if (stretch > MOST_STRETCH || stretch < 1 / MOST_STRETCH || leaves) return this.draw();
    const x = left - MARGIN * width * stretch;
    const y = top - MARGIN * height * stretch;
    this.canvas.style.transform = `translate(${x}px, ${y}px) scale(${stretch})`;
    clearTimeout(this.rest);
    if (stretch !== 1 || outside) this.rest = setTimeout(() => this.draw(), REST_MS);
  }

  draw(): void {
    clearTimeout(this.rest);
    const place = this.place();
    if (!place) return;
    const { clientWidth: width, clientHeight: height } = this.viewer.container;
    const dense = Math.min(2, devicePixelRatio || 1);
    const wide = Math.ceil(width * (1 + 2 * MARGIN));
    const high = Math.ceil(height * (1 + 2 * MARGIN));
    const { canvas } = this;
    if (canvas.width !== wide * dense || canvas.height !== high * dense) {
      [canvas.width, canvas.height] = [wide * dense, high * dense];
      [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
    }
    const pen = canvas.getContext("2d")!;
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const origin = { x: place.left + MARGIN * width, y: place.top + MARGIN * height };
    const { scale } = place;
    const seen = this.crystals.filter(({ box }) => {
      const [left, top, right, bottom] = box;
      return (
        origin.x + right * scale > 0 &&
        origin.x + left * scale < wide &&
        origin.y + bottom * scale > 0 &&
        origin.y + top * scale < high
      );
    });
    pen.lineJoin = "round";
    const strokes = new Map<string, Outlined[]>();
    for (const each of seen) {
      const key = `${each.shape}\n${each.corrected}`;
      const group = strokes.get(key);
      if (group) group.push(each);
      else strokes.set(key, [each]);
    }
    const thin = scale < 0.5;
    for (const group of strokes.values()) {
      const { shape, corrected } = group[0]!;
      pen.beginPath();
      for (const each of group) trace(pen, each, origin, scale);
      if (!thin) {
        pen.setLineDash([]);
        pen.strokeStyle = "rgb(0 0 0 / 55%)";
        pen.lineWidth = 3;
        pen.stroke();
      }
      pen.setLineDash(corrected ? [5, 3] : []);
      pen.strokeStyle = colourOf(shape, this.shapes);
      pen.lineWidth = thin ? 1 : 1.75;
      pen.stroke();
    }
    pen.setLineDash([]);
    const chosen = seen.filter(({ id }) => this.selected.has(id));
    pen.beginPath();
    for (const each of chosen) trace(pen, each, origin, scale);
    pen.fillStyle = "rgb(255 255 255 / 18%)";
    pen.fill("evenodd");
    for (const [colour, lineWidth] of [["#000", 6], ["#fff", 3.5]] as const) {
      [pen.strokeStyle, pen.lineWidth] = [colour, lineWidth];
      pen.stroke();
    }
    canvas.style.transform = `translate(${-MARGIN * width}px, ${-MARGIN * height}px)`;
    this.drawnAt = place;
  }
}

/** Add the rings of a crystal to a path, without vertices closer than about a pixel. */
function trace(
  pen: CanvasRenderingContext2D,
  { rings }: Outlined,
  origin: { x: number; y: number },
  scale: number,
): void {
  const skip = 2 * Math.max(1, Math.floor(0.8 / scale));
  for (const ring of rings) {
    pen.moveTo(origin.x + ring[0]! * scale, origin.y + ring[1]! * scale);
    for (let i = skip; i < ring.length; i += skip)
      pen.lineTo(origin.x + ring[i]! * scale, origin.y + ring[i + 1]! * scale);
    pen.closePath();
  }
}
