// A picture of one's own: analysed by the endpoint, shown like a tile, kept nowhere.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchBlob, fetchJson, pathOf, type Crystal } from "./api";
import { useSession } from "./corrections";
import { CrystalPanel } from "./crystal";
import { useKeys } from "./hooks";
import { outlined } from "./outlines";
import { Action, ShapeName, Trouble, number, save } from "./parts";
import { MicrographPicture, type Source } from "./picture";
import { shapesOf } from "./shapes";
import { Tools, useTool } from "./tools";

const POLL_MS = 400;

interface Job {
  id: string;
  status: "queued" | "running" | "done" | "failed" | "cancelled";
  progress: number;
  problem: { detail?: string } | null;
}

interface Analysed {
  name: string;
  job: string;
  crystals: Crystal[];
  pixelSizeUm: number | null;
  source: Source;
  picture: string;
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
  const session = useSession();
  useEffect(() => () => stop.current?.abort(), []);
  const start = (file: File) => {
    stop.current?.abort();
    const control = new AbortController();
    stop.current = control;
    setStage({ name: "working", file: file.name, job: null });
    analyse(file, size, control.signal, (job) => setStage({ name: "working", file: file.name, job })).then(
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
            {stage.file}: {stage.job?.status === "queued" ? "waiting for its turn" : stage.job ? "looking for crystals" : "uploading"} …
          </p>
          <progress value={stage.job?.progress ?? undefined} max={1} aria-label="Progress" />{" "}
          <button
            type="button"
            onClick={() => {
              stop.current?.abort();
              if (stage.job) void fetchBlob(pathOf(["jobs", stage.job.id]), { method: "DELETE" }).catch(() => {});
              setStage({ name: "empty" });
            }}
          >
            Cancel
          </button>
        </div>
      )}
      {stage.name === "failed" && <Trouble error={stage.error} />}
      {stage.name === "done" && <Result key={stage.analysed.job} analysed={stage.analysed} />}
    </>
  );
}

async function analyse(
  file: File,
  size: string,
  signal: AbortSignal,
  onProgress: (job: Job) => void,
): Promise<Analysed> {
  const form = () => {
    const data = new FormData();
    data.append("image", file);
    return data;
  };
  const pixel = size ? { pixel_size_um: size } : {};
  let job = await fetchJson<Job>(pathOf(["jobs"], pixel), { method: "POST", body: form(), signal });
  while (job.status === "queued" || job.status === "running") {
    onProgress(job);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    job = await fetchJson<Job>(pathOf(["jobs", job.id]), { signal });
  }
  if (job.status !== "done") throw new Error(job.problem?.detail ?? `The job was ${job.status}.`);
  const [result, { picture }] = await Promise.all([
    fetchJson<{ crystals: Crystal[]; pixel_size_um: number | null }>(
      pathOf(["jobs", job.id, "result"], { masks: "polygons" }),
      { signal },
    ),
    fetchJson<{ picture: string }>(pathOf(["pictures"]), { method: "POST", body: form(), signal }),
  ]);
  // A browser draws no TIFF, and 16 bits otherwise than they were analysed.
  const drawn = await fetchBlob(pathOf(["pictures", picture, "image"]), {
    headers: { Accept: "image/jpeg, image/png;q=0.8" },
    signal,
  });
  return {
    name: file.name,
    job: job.id,
    crystals: result.crystals,
    pixelSizeUm: result.pixel_size_um,
    source: { url: URL.createObjectURL(drawn) },
    picture,
  };
}

function Result({ analysed }: { analysed: Analysed }) {
  const [crystals, setCrystals] = useState(analysed.crystals);
  const [chosen, setChosen] = useState<string[]>([]);
  const [hidden, setHidden] = useState<string[]>([]);
  const shapes = useMemo(() => shapesOf(analysed.crystals), []);
  const tool = useTool({ picture: analysed.picture }, true, async () => {});
  const outlines = useMemo(() => crystals.map(outlined), [crystals]);
  const shown = useMemo(() => outlines.filter(({ shape }) => !hidden.includes(shape)), [outlines, hidden.join()]);
  const preview = useMemo(
    () => tool.preview.map((mask, i) => outlined({ ...mask, crystal_id: `new ${crystals.length + i}`, shape: "" } as Crystal)),
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
    n: () => tool.start("add"),
    Enter: keep,
    Escape: () => (tool.kind ? tool.stop() : setChosen([])),
  });
  const selection = crystals.filter(({ crystal_id }) => chosen.includes(crystal_id!));
  const files: [string, string, string][] = [
    ["GeoJSON", "application/geo+json", "geojson"],
    ["CSV", "text/csv", "csv"],
    ["JSON", "application/json", "json"],
    ["Overlay", "image/png", "overlay.png"],
  ];
  return (
    <div class="tile">
      <div class="tile-picture">
        <h2>{analysed.name}</h2>
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
        <fieldset class="shapes">
          <legend>Shapes</legend>
          {shapes.map((shape) => (
            <label key={shape}>
              <input
                type="checkbox"
                checked={!hidden.includes(shape)}
                onChange={(event) =>
                  setHidden(event.currentTarget.checked ? hidden.filter((each) => each !== shape) : [...hidden, shape])
                }
              />
              <ShapeName shape={shape} shapes={shapes} />{" "}
              <span>{number(outlines.filter((each) => each.shape === shape).length)}</span>
            </label>
          ))}
        </fieldset>
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
        <Tools
          tool={{ ...tool, keep }}
          onAdd={() => tool.start("add")}
          onUndo={() => setCrystals(crystals.slice(0, -1))}
          mayUndo={crystals.length > analysed.crystals.length}
        />
        <div class="toolbar" role="group" aria-label="Exports">
          {files.map(([title, accept, ending]) => (
            <Action
              key={title}
              work={async () =>
                save(
                  await fetchBlob(pathOf(["jobs", analysed.job, "result"]), { headers: { Accept: accept } }),
                  `${analysed.name}.${ending}`,
                )
              }
            >
              {title}
            </Action>
          ))}
        </div>
      </aside>
    </div>
  );
}
