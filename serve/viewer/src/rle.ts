// Masks as COCO's compressed run-length code, read for a preview.

export interface Rle {
  /** Height and width of the picture. */
  size: number[];
  counts: string;
}

/** Lengths of the runs, first off the mask, down the columns. */
export function runLengths(counts: string): number[] {
  const lengths: number[] = [];
  let place = 0;
  while (place < counts.length) {
    let [value, shift, more] = [0, 0, true];
    while (more) {
      const code = counts.charCodeAt(place++) - 48;
      value |= (code & 0x1f) << shift;
      more = (code & 0x20) !== 0;
      shift += 5;
      if (!more && code & 0x10) value |= -1 << shift;
    }
    // From the fourth on, each is the difference to the one before the last.
    if (lengths.length > 2) value += lengths[lengths.length - 2]!;
    lengths.push(value);
  }
  return lengths;
}

/** A polygon around a mask: its first and last pixel in each column. Holes and inlets are filled. */
export function extentOf({ size, counts }: Rle): [number, number][] {
  const height = size[0]!;
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  let pixel = 0;
  runLengths(counts).forEach((length, index) => {
    const end = pixel + length;
    for (let start = pixel; index % 2 && start < end; ) {
      const column = Math.floor(start / height);
      const stop = Math.min(end, (column + 1) * height);
      if (!first.has(column)) first.set(column, start - column * height);
      last.set(column, stop - column * height);
      start = stop;
    }
    pixel = end;
  });
  const columns = [...first.keys()].sort((a, b) => a - b);
  const top = columns.flatMap((x): [number, number][] => [[x, first.get(x)!], [x + 1, first.get(x)!]]);
  const base = columns.reverse().flatMap((x): [number, number][] => [[x + 1, last.get(x)!], [x, last.get(x)!]]);
  return [...top, ...base];
}
