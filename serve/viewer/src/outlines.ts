// The outlines of crystals in pixels of their picture.
import type { Crystal } from "./api";

import { extentOf, type Rle } from "./rle";

export interface Outlined {
  id: string;
  crystal: Crystal;
  shape: string;
  /** Rings of x, y, x, y, … in pixels of the picture. */
  rings: Float32Array[];
  box: [number, number, number, number];
  corrected: boolean;
}

type Ring = [number, number][];
interface Geometry {
  type: string;
  coordinates: Ring[] | Ring[][];
}

export function outlined(crystal: Crystal): Outlined {
  const geometry = crystal.mask_polygons as Geometry | null | undefined;
  const polygons = !geometry
    ? []
    : geometry.type === "MultiPolygon"
      ? (geometry.coordinates as Ring[][])
      : [geometry.coordinates as Ring[]];
  const rings = polygons.flat().map((ring) => Float32Array.from(ring.flat()));
  const { bbox_x: x, bbox_y: y, bbox_w: w, bbox_h: h } = crystal;
  return {
    id: crystal.crystal_id!,
    crystal,
    shape: crystal.shape ?? "",
    rings,
    box: [x!, y!, x! + w!, y! + h!],
    corrected: Boolean((crystal as Record<string, unknown>).correction),
  };
}

/** A mask of the segmenter that is not yet a crystal. */
export function previewOf(mask: Record<string, unknown>, id: string): Outlined {
  const geometry = { type: "Polygon", coordinates: [extentOf(mask.mask_rle as Rle)] };
  return outlined({ mask_polygons: geometry, ...mask, crystal_id: id, shape: "" } as Crystal);
}

/** The smallest crystal at a point of the picture. */
export function crystalAt(crystals: Outlined[], x: number, y: number): Outlined | null {
  let best: Outlined | null = null;
  let bestArea = Infinity;
  for (const each of crystals) {
    const [left, top, right, bottom] = each.box;
    const area = (right - left) * (bottom - top);
    if (x < left || x > right || y < top || y > bottom || area >= bestArea) continue;
    if (each.rings.length && !each.rings.some((ring) => isInside(ring, x, y))) continue;
    [best, bestArea] = [each, area];
  }
  return best;
}

function isInside(ring: Float32Array, x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
    const [xi, yi, xj, yj] = [ring[i]!, ring[i + 1]!, ring[j]!, ring[j + 1]!];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
