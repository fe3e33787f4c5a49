// The length of a log's intervals.

const MOST_INTERVALS = 4000;
const WANTED_INTERVALS = 60;

/** 1, 2 or 5 times a power of ten that divides a visible range well; null for the whole log. */
export function stepFor(visible: number, whole: number): number | null {
  if (visible >= whole * 0.999) return null;
  const least = Math.max(visible / WANTED_INTERVALS, whole / MOST_INTERVALS, 0.01);
  const power = 10 ** Math.floor(Math.log10(least));
  return Number(([1, 2, 5, 10].map((f) => f * power).find((s) => s >= least * 0.999) ?? least).toPrecision(6));
}
