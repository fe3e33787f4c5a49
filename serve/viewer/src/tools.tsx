// Drawing crystals by clicks and boxes: add, redraw, split.
import { useRef, useState } from "preact/hooks";
import { fetchJson } from "./api";
import type { Box, Point } from "./picture";

export type ToolKind = "add" | "redraw" | "split";
type Mask = Record<string, unknown>;

interface Marks {
  points: Point[];
  off: Point[];
  boxes: Box[];
}

const NONE: Marks = { points: [], off: [], boxes: [] };

export interface Tool {
  kind: ToolKind | null;
  marks: Marks;
  preview: Mask[];
  busy: boolean;
  error: string;
  available: boolean;
  start: (kind: ToolKind) => void;
  stop: () => void;
  keep: () => void;
  addPoint: (point: Point, off: boolean) => void;
  addBox: (box: Box) => void;
}

/**
 * A tool that asks the segmenter for the crystals at prompts; `onKeep` gets their masks.
 * `load` gives the picture, once for all clicks.
 */
export function useTool(
  load: () => Promise<Blob>,
  available: boolean,
  onKeep: (kind: ToolKind, masks: unknown[]) => Promise<unknown>,
): Tool {
  const [kind, setKind] = useState<ToolKind | null>(null);
  const [marks, setMarks] = useState(NONE);
  const [preview, setPreview] = useState<Mask[]>([]);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const picture = useRef<Promise<Blob> | null>(null);
  const asked = useRef(0);

  const open = () => {
    if (picture.current === null) {
      picture.current = load();
      picture.current.catch(() => (picture.current = null));
    }
    return picture.current;
  };
  const reset = () => {
    asked.current += 1;
    setMarks(NONE);
    setPreview([]);
    setError("");
    setBusy(false);
  };
  const segment = async (next: Marks) => {
    const question = ++asked.current;
    setMarks(next);
    setBusy(true);
    setError("");
    try {
      const form = new FormData();
      form.append("image", await open(), "picture");
      form.append("prompts", JSON.stringify(promptsOf(kind!, next)));
      const { masks } = await fetchJson<{ masks: Mask[] }>("/v1/segment", { method: "POST", body: form });
      if (question === asked.current) setPreview(masks);
    } catch (reason) {
      if (question === asked.current) setError((reason as Error).message);
    }
    if (question === asked.current) setBusy(false);
  };
  return {
    kind,
    marks,
    preview,
    busy,
    error,
    available,
    start: (next) => {
      reset();
      setKind(next);
      if (available) open().catch((reason: Error) => setError(reason.message));
    },
    stop: () => {
      reset();
      setKind(null);
    },
    keep: () => {
      const least = kind === "split" ? 2 : 1;
      if (!kind || busy || preview.length < least) return;
      const masks = preview.map((mask) => mask.mask_rle);
      reset();
      setKind(null);
      void onKeep(kind, masks);
    },
    addPoint: (point, off) =>
      void segment(off && kind !== "split" ? { ...marks, off: [...marks.off, point] } : { ...marks, points: [...marks.points, point] }),
    addBox: (box) =>
      void segment(kind === "split" ? { ...marks, boxes: [...marks.boxes, box] } : { ...NONE, boxes: [box] }),
  };
}

/** Prompts as the endpoint reads them: of one crystal together, of a split one crystal each. */
function promptsOf(kind: ToolKind, { points, off, boxes }: Marks): unknown {
  if (boxes.length && !points.length) return { boxes };
  if (kind === "split") return { points };
  return {
    points: [[...points, ...off]],
    labels: [[...points.map(() => 1), ...off.map(() => 0)]],
  };
}

const ADVICE: Record<ToolKind, string> = {
  add: "Click the new crystal, or drag a box around it.",
  redraw: "Click the crystal, or drag a box around it, to draw its outline again.",
  split: "Click each of the crystals that this one should become.",
};

export function Tools(props: {
  tool: Tool;
  onAdd: () => void;
  onUndo: () => void;
  mayUndo: boolean;
}) {
  const { tool } = props;
  if (!tool.kind)
    return (
      <div class="toolbar" role="group" aria-label="Corrections">
        <button type="button" onClick={props.onAdd} disabled={!tool.available}>
          New crystal <kbd>N</kbd>
        </button>
        <button type="button" onClick={props.onUndo} disabled={!props.mayUndo}>
          Undo <kbd>Z</kbd>
        </button>
        {!tool.available && <span class="hint">The segmenter of this endpoint takes no clicks.</span>}
      </div>
    );
  const found = tool.preview.length;
  return (
    <div class="tools" role="group" aria-label="Drawing">
      <p>{ADVICE[tool.kind]} Alt and click marks what does not belong to it.</p>
      <p role="status">
        {tool.busy ? "Looking …" : found ? `${found} ${found === 1 ? "outline" : "outlines"}` : ""}
      </p>
      {tool.error && (
        <p class="inline-trouble" role="alert">
          {tool.error}
        </p>
      )}
      <button type="button" onClick={tool.keep} disabled={tool.busy || found < (tool.kind === "split" ? 2 : 1)}>
        Keep <kbd>Enter</kbd>
      </button>
      <button type="button" class="quiet" onClick={tool.stop}>
        Cancel <kbd>Esc</kbd>
      </button>
    </div>
  );
}
