// A picture of one's own: analysed by the endpoint, shown like a tile, kept nowhere.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { EndpointError, ask, endpoint, fetchBlob, fetchJson, pathOf, type Crystal } from "./api";
import { useSession } from "./corrections";
import { CrystalPanel } from "./crystal";
import { useKeys } from "./hooks";
import { isForJobs, runJob, type Job } from "./jobs";
import { outlined, previewOf } from "./outlines";
import { Action, ShapeToggles, Trouble, number, percent, save } from "./parts";
import { MicrographPicture, type Source } from "./picture";
import { shapesOf } from "./shapes";
import { Tools, useTool } from "./tools";

interface Analysed {
  file: File;
  query: Record<string, string>;
  /** The job that has the result, of a picture too large for one request. */
  job: Job | null;
  crystals: Crystal[];
  pixelSizeUm: number | null;
  source: Source;
  drawn: boolean;
}

type Stage =
  | { name: "empty" }
  | { name: "working"; file: string; job: Job | null }
  | { name: "failed"; error: Error }
  | { name: "done"; analysed: Analysed };

export function TryView() {
  const [stage, setStage] = useState<Stage>({ name: "empty" });
  const [size, setSize] = useState("");
  const stop = useRef<AbortController | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const session = useSession().data;
  useEffect(() => () => stop.current?.abort(), []);
  const start = (file: File) => {
    stop.current?.abort();
    const control = new AbortController();
    stop.current = control;
    setStage({ name: "working", file: file.name, job: null });
    const onProgress = (job: Job) =>
      control.signal.aborted || setStage({ name: "working", file: file.name, job });
    analyse(file, size, control.signal, onProgress).then(
      (analysed) => setStage({ name: "done", analysed }),
      (error: Error) => {
        if (error.name !== "AbortError") setStage({ name: "failed", error });
      },
    );
  };
  if (session && !session.scopes.includes("analyze"))
    return (
      <div class="trouble" role="alert">
        <p>
          The token of {session.name} may not analyse pictures. Ask for one with the scope “analyze”.
        </p>
      </div>
    );
  return (
    <>
      <h1>Try it on a picture</h1>
      <div
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          const file = event.dataTransfer?.files[0];
          if (file) start(file);
        }}
      >
        <p>
          Drop a micrograph here (TIFF, PNG or JPEG), or{" "}
          <button type="button" onClick={() => input.current?.click()}>
            choose a file
          </button>
          . It is analysed and forgotten; the catalogue does not change.
        </p>
        <input
          ref={input}
          type="file"
          class="for-readers"
          aria-label="Picture"
          accept=".tif,.tiff,.png,.jpg,.jpeg"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) start(file);
            event.currentTarget.value = "";
          }}
        />
        <label>
          Pixel size, if the file does not tell it:{" "}
          <input type="number" min="0" step="any" value={size} onInput={(event) => setSize(event.currentTarget.value)} /> µm
        </label>
      </div>
      {stage.name === "working" && (
        <div role="status">
          <p>
            {stage.file}: {stage.job ? describeJob(stage.job) : "looking for crystals …"}
          </p>
          <progress aria-label="Progress" max="1" {...(stage.job && { value: stage.job.progress })} />{" "}
          <button
            type="button"
            onClick={() => {
              stop.current?.abort();
              setStage({ name: "empty" });
            }}
          >
            Cancel
          </button>
        </div>
      )}
      {stage.name === "failed" && <Trouble error={stage.error} />}
      {stage.name === "done" && <Result key={stage.analysed.source.url} analysed={stage.analysed} />}
    </>
  );
}

async function analyse(
  file: File,
  size: string,
  signal: AbortSignal,
  onProgress: (job: Job) => void,
): Promise<Analysed> {
  const sized: Record<string, string> = size ? { pixel_size_um: size } : {};
  const query: Record<string, string> = { masks: "polygons", ...sized };
  let job: Job | null = null;
  let result: Answer;
  try {
    // A body that is refused while it is sent breaks the connection; not every token may ask this.
    const limits = await ask(endpoint.GET("/v1/models", { signal })).catch(() => null);
    if (limits && file.size > limits.max_megabytes * 2 ** 20) throw new EndpointError(413, "/v1/jobs");
    result = await fetchJson<Answer>(pathOf(["analyze"], query), { method: "POST", body: formOf(file), signal });
  } catch (error) {
    if (!isForJobs(error)) throw error;
    job = await runJob(formOf(file), sized, signal, onProgress);
    result = await fetchJson<Answer>(`${job.result}?masks=polygons`, { signal });
  }
  return {
    file,
    query,
    job,
    crystals: result.crystals,
    pixelSizeUm: result.pixel_size_um,
    ...(await drawnPicture(file, result)),
  };
}

function describeJob({ status, progress, width, height }: Job): string {
  const size = `${number(width)} × ${number(height)} pixels`;
  if (status === "queued") return `${size}, waiting for its turn …`;
  return `${size}, looking for crystals, ${percent(progress)} …`;
}

interface Answer {
  crystals: Crystal[];
  pixel_size_um: number | null;
  width: number;
  height: number;
}

function formOf(file: File): FormData {
  const form = new FormData();
  form.append("image", file);
  return form;
}

const MOST_DRAWN = 4e7;

/** The picture as browsers can draw it: reduced if it is large, a dark ground if they cannot. */
async function drawnPicture(
  file: File,
  { width, height }: Answer,
): Promise<{ source: Source; drawn: boolean }> {
  const reduction = Math.min(1, Math.sqrt(MOST_DRAWN / (width * height)));
  const size = { resizeWidth: Math.ceil(width * reduction), resizeHeight: Math.ceil(height * reduction) };
  try {
    const picture = await createImageBitmap(file, { ...size, resizeQuality: "medium" });
    if (reduction === 1) {
      picture.close();
      return { source: { url: URL.createObjectURL(file) }, drawn: true };
    }
    const url = await drawnUrl(picture.width, picture.height, (pen) => pen.drawImage(picture, 0, 0));
    picture.close();
    return { source: { url, size: { width, height } }, drawn: true };
  } catch {
    const url = await drawnUrl(1, 1, (pen) => {
      pen.fillStyle = "#333";
      pen.fillRect(0, 0, 1, 1);
    });
    return { source: { url, size: { width, height } }, drawn: false };
  }
}

async function drawnUrl(
  width: number,
  height: number,
  draw: (pen: OffscreenCanvasRenderingContext2D) => void,
): Promise<string> {
  const canvas = new OffscreenCanvas(width, height);
  draw(canvas.getContext("2d")!);
  return URL.createObjectURL(await canvas.convertToBlob());
}

function Result({ analysed }: { analysed: Analysed }) {
  const { job } = analysed;
  const [crystals, setCrystals] = useState(analysed.crystals);
  const [chosen, setChosen] = useState<string[]>([]);
  const [hidden, setHidden] = useState<string[]>([]);
  const shapes = useMemo(() => shapesOf(analysed.crystals), []);
  const tool = useTool(async () => analysed.file, true, async () => {});
  const outlines = useMemo(() => crystals.map(outlined), [crystals]);
  const shown = useMemo(() => outlines.filter(({ shape }) => !hidden.includes(shape)), [outlines, hidden.join()]);
  const preview = useMemo(
    () => tool.preview.map((mask, i) => previewOf(mask, `new ${crystals.length + i}`)),
    [tool.preview],
  );
  const drawn = useMemo(() => [...shown, ...preview], [shown, preview]);
  const selected = useMemo(() => new Set([...chosen, ...preview.map(({ id }) => id)]), [chosen.join(), preview]);
  const keep = () => {
    if (!tool.preview.length) return;
    setCrystals([...crystals, ...preview.map(({ crystal }) => crystal)]);
    tool.stop();
  };
  useKeys({
    ...(!job && { n: () => tool.start("add"), Enter: keep }),
    Escape: () => (tool.kind ? tool.stop() : setChosen([])),
  });
  const selection = crystals.filter(({ crystal_id }) => chosen.includes(crystal_id!));
  const files: [string, string, string][] = [
    ["JSON", "application/json", "json"],
    ["GeoJSON", "application/geo+json", "geojson"],
    job ? ["CSV", "text/csv", "csv"] : ["Overlay", "image/png", "overlay.png"],
  ];
  const download = (accept: string) => {
    const headers = { Accept: accept };
    if (job) return fetchBlob(job.result!, { headers });
    return fetchBlob(pathOf(["analyze"], analysed.query), { method: "POST", body: formOf(analysed.file), headers });
  };
  return (
    <div class="tile">
      <div class="tile-picture">
        <h2>{analysed.file.name}</h2>
        {!analysed.drawn && (
          <p class="hint">
            Browsers do not draw TIFF or very large pictures: the outlines are shown without it.
          </p>
        )}
        <MicrographPicture
          source={analysed.source}
          pixelSizeUm={analysed.pixelSizeUm}
          crystals={drawn}
          shapes={shapes}
          selected={selected}
          tool={tool.kind !== null}
          marks={tool.marks}
          focus={null}
          onSelect={(crystal) => setChosen(crystal ? [crystal.id] : [])}
          onPoint={tool.addPoint}
          onBox={tool.addBox}
        />
      </div>
      <aside aria-label="Crystals">
        <p>
          <strong>{number(crystals.length)}</strong> crystals
        </p>
        <ShapeToggles shapes={shapes} of={outlines} hidden={hidden} onHide={setHidden} />
        {selection.length > 0 && (
          <CrystalPanel
            selection={selection}
            shapes={shapes}
            mayCorrect={false}
            mayAnalyze={false}
            note=""
            onNote={() => {}}
            onName={() => {}}
            onAction={() => {}}
            onFocus={() => {}}
          />
        )}
        {!job && (
          <Tools
            tool={{ ...tool, keep }}
            onAdd={() => tool.start("add")}
            onUndo={() => setCrystals(crystals.slice(0, -1))}
            mayUndo={crystals.length > analysed.crystals.length}
          />
        )}
        <div class="toolbar" role="group" aria-label="Exports">
          {files.map(([title, accept, ending]) => (
            <Action
              key={title}
              work={async () => save(await download(accept), `${analysed.file.name}.${ending}`)}
            >
              {title}
            </Action>
          ))}
        </div>
      </aside>
    </div>
  );
}
