// Statistics of a selection of crystals, with intervals from a bootstrap by tile.
//
// Crystals of one tile resemble each other, so tiles are drawn again, not crystals.

export interface Sampled {
  tile_id: string;
  shape: string;
  size: number | null;
}

export interface Estimate {
  value: number;
  low: number;
  high: number;
}

export interface Statistics {
  crystals: number;
  tiles: number;
  unsized: number;
  fractions: Record<string, Estimate>;
  quantiles: { p10: Estimate; p50: Estimate; p90: Estimate } | null;
  /** Shares of the crystals in each bin of `edges`. */
  distribution: Estimate[];
  /** Shares of the shapes in each tile. */
  byTile: number[][];
  /** Shares of the shapes in each draw. */
  draws: number[][];
}

const DRAWS = 300;
const FINE = 240;
const SHARE_OUTSIDE = 0.025;

/** Edges of `count` bins that are equally wide in the logarithm. */
export function logEdges(least: number, most: number, count: number): number[] {
  const step = Math.log(most / least) / count;
  return Array.from({ length: count + 1 }, (_, i) => least * Math.exp(i * step));
}

export function statisticsOf(
  crystals: Sampled[],
  shapes: string[],
  range: [number, number],
  bins: number,
): Statistics {
  const tiles = new Map<string, { shapes: Float64Array; sizes: Float64Array }>();
  const scale = FINE / Math.log(range[1] / range[0]);
  let unsized = 0;
  for (const { tile_id, shape, size } of crystals) {
    let tile = tiles.get(tile_id);
    if (!tile) {
      tile = { shapes: new Float64Array(shapes.length), sizes: new Float64Array(FINE) };
      tiles.set(tile_id, tile);
    }
    const place = shapes.indexOf(shape);
    if (place >= 0) tile.shapes[place]! += 1;
    if (size === null) unsized += 1;
    else tile.sizes[Math.max(0, Math.min(FINE - 1, Math.floor(Math.log(size / range[0]) * scale)))]! += 1;
  }
  const all = [...tiles.values()];
  const summed = (chosen: typeof all) => {
    const counts = new Float64Array(shapes.length);
    const sizes = new Float64Array(FINE);
    for (const tile of chosen) {
      for (let i = 0; i < counts.length; i++) counts[i]! += tile.shapes[i]!;
      for (let i = 0; i < FINE; i++) sizes[i]! += tile.sizes[i]!;
    }
    return { shares: sharesOf(counts), sizes };
  };
  const random = generator(all.length + 1);
  const whole = summed(all);
  const draws = Array.from({ length: all.length > 1 ? DRAWS : 0 }, () =>
    summed(all.map(() => all[Math.floor(random() * all.length)]!)),
  );
  const estimate = (of: (sample: typeof whole) => number): Estimate => {
    const values = draws.map(of).sort((a, b) => a - b);
    const value = of(whole);
    if (!values.length) return { value, low: NaN, high: NaN };
    const at = (share: number) => values[Math.round(share * (values.length - 1))]!;
    return { value, low: at(SHARE_OUTSIDE), high: at(1 - SHARE_OUTSIDE) };
  };
  const coarse = FINE / bins;
  const inBin = (bin: number) => (sample: typeof whole) => {
    let sum = 0;
    let total = 0;
    for (let i = 0; i < FINE; i++) {
      total += sample.sizes[i]!;
      if (Math.floor(i / coarse) === bin) sum += sample.sizes[i]!;
    }
    return total ? sum / total : 0;
  };
  const quantile = (share: number) => estimate((sample) => quantileOf(sample.sizes, share, range));
  return {
    crystals: crystals.length,
    tiles: all.length,
    unsized,
    fractions: Object.fromEntries(
      shapes.map((shape, i) => [shape, estimate((sample) => sample.shares[i] ?? 0)]),
    ),
    quantiles:
      crystals.length > unsized
        ? { p10: quantile(0.1), p50: quantile(0.5), p90: quantile(0.9) }
        : null,
    distribution: Array.from({ length: bins }, (_, bin) => estimate(inBin(bin))),
    byTile: all.map((tile) => sharesOf(tile.shapes)),
    draws: draws.map(({ shares }) => shares),
  };
}

function sharesOf(counts: Float64Array): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return [...counts].map((count) => (total ? count / total : 0));
}

function quantileOf(sizes: Float64Array, share: number, [least, most]: [number, number]): number {
  const total = sizes.reduce((sum, count) => sum + count, 0);
  let before = 0;
  for (let i = 0; i < sizes.length; i++) {
    const count = sizes[i]!;
    if (count && before + count >= share * total) {
      const inside = i + (share * total - before) / count;
      return least * Math.exp((inside / FINE) * Math.log(most / least));
    }
    before += count;
  }
  return most;
}

/** Mulberry32: the same selection gives the same intervals. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Groups for the three corners of a ternary: the first two shapes, and all others. */
export function corners(shapes: string[]): { names: string[]; of: (shares: number[]) => [number, number, number] } {
  const others = shapes.slice(2).map((shape) => shape.replaceAll("_", " "));
  return {
    names: [...shapes.slice(0, 2).map((shape) => shape.replaceAll("_", " ")), others.join(" + ")],
    of: (shares) => [shares[0] ?? 0, shares[1] ?? 0, shares.slice(2).reduce((sum, share) => sum + share, 0)],
  };
}
