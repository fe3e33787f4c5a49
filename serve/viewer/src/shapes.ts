// Shapes of crystals: their order, names and colours.

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

/** A black or white that is readable on a colour of a shape. */
export const INK_ON_COLOUR = "#111";
