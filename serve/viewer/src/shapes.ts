// Shapes of crystals: their order, names and colours.
import type { Crystal } from "./api";

// Okabe & Ito (2008), as in mcn/plots.py: told apart by colour-blind readers, also on grey.
const COLOURS: Record<string, string> = {
  rhombic: "#e69f00",
  polyhedral: "#56b4e9",
  amorphous: "#d55e9b",
  spherical: "#2fbf71",
};

export function colourOf(shape: string, shapes: string[]): string {
  const known = COLOURS[shape];
  if (known) return known;
  const place = Math.max(0, shapes.indexOf(shape));
  return `hsl(${Math.round((360 * place) / Math.max(1, shapes.length) + 20)} 75% 55%)`;
}

export function nameOf(shape: string): string {
  return shape.replaceAll("_", " ");
}

/** The shapes that the classifier tells apart, in its order: the columns of probabilities. */
export function shapesOf(crystals: Crystal[]): string[] {
  const columns = Object.keys(crystals[0] ?? {}).filter((name) => name.startsWith("p_"));
  return columns.map((name) => name.slice(2));
}
