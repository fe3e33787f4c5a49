// The queue: crystals that the models are least sure of, named with one key each.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ask, endpoint, pathOf, pictureUrl, type Crystal } from "./api";
import { conflictOf, correct, undo, useSession, type Operation } from "./corrections";
import { useData, useKeys, usePicture } from "./hooks";
import { outlined } from "./outlines";
import { Nothing, ShapeName, Trouble, Waiting, metres, number, percent } from "./parts";
import { go } from "./route";
import { colourOf, nameOf, shapesOf } from "./shapes";
import { useWells } from "./wells";

const BATCH = 60;
const MOST = 10_000;
const AHEAD = 8;

export function CorrectView({ query }: { query: URLSearchParams }) {
  const well = query.get("well");
  const { data: wells, error, reload } = useWells();
  const { data: session, error: refusal, reload: again } = useSession();
  if (error) return <Trouble error={error} retry={reload} />;
  if (refusal) return <Trouble error={refusal} retry={again} />;
  if (!wells || !session) return <Waiting what="the wells" />;
  const chosen = well ?? wells[0]?.well;
  if (!chosen)
    return (
      <Nothing>
        <h1>Nothing to correct</h1>
        <p>This catalogue is empty.</p>
      </Nothing>
    );
  return (
    <>
      <h1>Least sure crystals</h1>
      <div class="toolbar">
        <label>
          Well{" "}
          <select value={chosen} onChange={(event) => go("correct", { well: event.currentTarget.value })}>
            {wells.map(({ well: name }) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      {session.scopes.includes("correct") ? (
        <Queue key={chosen} well={chosen} />
      ) : (
        <div class="trouble" role="alert">
          <p>
            The token of {session.name} may look, but not correct. Ask for one with the scope “correct”.
          </p>
        </div>
      )}
    </>
  );
}

interface Done {
  place: number;
  saved: Promise<string | null>;
}

function Queue({ well }: { well: string }) {
  const [earlier, setEarlier] = useState<Crystal[]>([]);
  const { data, error, reload } = useData(`${well}\n${earlier.length}`, async () => {
    const { crystals } = await ask(
      endpoint.GET("/v1/wells/{well}/crystals", {
        params: {
          path: { well },
          query: {
            sort: "confidence",
            corrected: true,
            uncorrected_only: true,
            // Those that were skipped come again.
            limit: Math.min(BATCH + earlier.length, MOST),
            masks: "polygons",
          },
        },
      }),
    );
    const known = new Set(earlier.map(({ crystal_id }) => crystal_id));
    return crystals.filter(({ crystal_id }) => !known.has(crystal_id)).slice(0, BATCH);
  });
  const crystals = useMemo(() => [...earlier, ...(data ?? [])], [earlier, data]);
  if (error) return <Trouble error={error} retry={reload} />;
  if (!data && !earlier.length) return <Waiting what="the crystals" />;
  if (!crystals.length)
    return (
      <Nothing>
        <p>Every crystal of {well} has been corrected or confirmed.</p>
      </Nothing>
    );
  return (
    <Cards
      crystals={crystals}
      next={data === null ? "loading" : data.length ? "more" : "none"}
      onEnd={() => setEarlier(crystals)}
    />
  );
}

interface CardsProps {
  crystals: Crystal[];
  /** Whether there may be further crystals. */
  next: "loading" | "more" | "none";
  onEnd: () => void;
}

function Cards({ crystals, next, onEnd }: CardsProps) {
  const [place, setPlace] = useState(0);
  const [done, setDone] = useState<Done[]>([]);
  const [said, setSaid] = useState<{ text: string; bad: boolean } | null>(null);
  const started = useRef<number | null>(null);
  const last = useRef<Promise<unknown>>(Promise.resolve());
  const shapes = useMemo(() => shapesOf(crystals), [crystals]);
  const crystal = crystals[place];
  useEffect(() => {
    for (const each of crystals.slice(place + 1, place + 1 + AHEAD)) void pictureUrl(regionOf(each).path).catch(() => {});
  }, [place, crystals]);

  const goOn = () => {
    const named = new Set(done.map((each) => each.place));
    let to = place + 1;
    while (named.has(to)) to += 1;
    setPlace(to);
  };
  const save = (action: Operation, shape?: string) => {
    if (!crystal) return;
    started.current ??= Date.now();
    const where = { tile_id: crystal.tile_id!, well: crystal.well! };
    const saved = correct(action, where, [crystal], shape ? { shape } : {}).then(
      (change) => {
        const conflict = conflictOf(change);
        if (conflict) setSaid({ text: conflict, bad: true });
        return change.change_id;
      },
      (reason: Error) => {
        // Back to the first that was not saved.
        setDone((now) => now.filter((each) => each.place !== place));
        setPlace((now) => Math.min(now, place));
        setSaid({ text: `Crystal ${place + 1} was not saved: ${reason.message}`, bad: true });
        return null;
      },
    );
    last.current = saved;
    setDone([...done, { place, saved }]);
    setSaid({ text: shape ? `Named ${nameOf(shape)}.` : "Deleted.", bad: false });
    goOn();
  };
  const back = () => {
    const latest = done.at(-1);
    if (!latest) return;
    setDone(done.slice(0, -1));
    setPlace(latest.place);
    last.current = latest.saved
      .then((change) => (change === null ? null : undo(change)))
      .then(
        (change) => change && setSaid({ text: "Undone.", bad: false }),
        (reason: Error) => setSaid({ text: reason.message, bad: true }),
      );
  };
  useKeys({
    ...Object.fromEntries(shapes.map((shape, index) => [String(index + 1), () => save("shape", shape)])),
    Enter: () => crystal && save("shape", crystal.shape!),
    d: () => save("delete"),
    s: () => crystal && goOn(),
    z: back,
    o: () => crystal && openTile(crystal),
  });
  const minutes = started.current === null ? 0 : (Date.now() - started.current) / 60_000;
  return (
    <section class="queue" aria-label="Queue">
      <p role="status" class={said?.bad ? "said bad" : "said"}>
        {said?.text}
      </p>
      <p>
        {crystal ? `${place + 1} of ${crystals.length}` : "The end of this batch"}
        {done.length > 0 && (
          <>
            ; {number(done.length)} corrected
            {done.length > 4 && `, ${Math.round(done.length / Math.max(minutes, 1 / 60))} a minute`}
          </>
        )}
      </p>
      {crystal ? (
        <div class="card">
          <InPlace crystal={crystal} shapes={shapes} />
          {/* Buttons of their own for each crystal: Enter never repeats a click on the last one. */}
          <div key={crystal.crystal_id}>
            <h2>
              <ShapeName shape={crystal.shape!} shapes={shapes} /> ({percent(crystal.confidence)})
            </h2>
            <p>
              {crystal.well}, {metres(crystal.depth_m)} m, {number(crystal.equivalent_diameter_um)} µm
            </p>
            <div class="naming" role="group" aria-label="Name the shape">
              {shapes.map((shape, index) => (
                <button key={shape} type="button" onClick={() => save("shape", shape)}>
                  <ShapeName shape={shape} shapes={shapes} /> <kbd>{index + 1}</kbd>
                </button>
              ))}
            </div>
            <div class="toolbar" role="group" aria-label="Other">
              <button type="button" onClick={() => save("shape", crystal.shape!)}>
                Right as it is <kbd>Enter</kbd>
              </button>
              <button type="button" onClick={() => save("delete")}>
                No crystal <kbd>D</kbd>
              </button>
              <button type="button" onClick={goOn}>
                Skip <kbd>S</kbd>
              </button>
              <button type="button" onClick={back} disabled={!done.length}>
                Undo <kbd>Z</kbd>
              </button>
              <button type="button" onClick={() => openTile(crystal)}>
                Open tile <kbd>O</kbd>
              </button>
            </div>
          </div>
        </div>
      ) : next === "loading" ? (
        <Waiting what="the crystals" />
      ) : next === "none" ? (
        <p>The others have all been corrected or confirmed.</p>
      ) : (
        <div class="toolbar">
          <button type="button" onClick={() => void last.current.finally(onEnd)}>
            Next {BATCH}
          </button>
          <button type="button" onClick={back} disabled={!done.length}>
            Undo <kbd>Z</kbd>
          </button>
        </div>
      )}
    </section>
  );
}

function openTile(crystal: Crystal): void {
  go("tile", { well: crystal.well, tile: crystal.tile_id, crystal: crystal.crystal_id });
}

/** The part of a tile around a crystal: its address and its corner. */
function regionOf(crystal: Crystal): { path: string; left: number; top: number; side: number } {
  const { bbox_x: x, bbox_y: y, bbox_w: w, bbox_h: h } = crystal;
  const side = Math.round(2.2 * Math.max(w!, h!, 24));
  const left = Math.max(0, Math.round(x! + w! / 2 - side / 2));
  const top = Math.max(0, Math.round(y! + h! / 2 - side / 2));
  const region = `${left},${top},${side},${side}`;
  const query = new URLSearchParams({ well: crystal.well! });
  return {
    // At its own size, so that a pixel of the picture is one of the tile, also at an edge.
    path: `${pathOf(["iiif", crystal.tile_id!])}/${region}/max/0/default.jpg?${query}`,
    left,
    top,
    side,
  };
}

/** A crystal with its outline in its surroundings. */
function InPlace({ crystal, shapes }: { crystal: Crystal; shapes: string[] }) {
  const { path, left, top, side } = regionOf(crystal);
  const { url, error } = usePicture(path);
  const [size, setSize] = useState<{ url: string; width: number; height: number } | null>(null);
  useEffect(() => {
    if (!url) return;
    const picture = new Image();
    picture.onload = () => setSize({ url, width: picture.naturalWidth, height: picture.naturalHeight });
    picture.src = url;
  }, [url]);
  if (error) return <Trouble error={error} />;
  if (!size || size.url !== url) return <div class="in-place" aria-busy="true" />;
  const ring = outlined(crystal).rings.map(
    (points) =>
      "M" + Array.from({ length: points.length / 2 }, (_, i) => `${points[2 * i]! - left},${points[2 * i + 1]! - top}`).join("L") + "Z",
  );
  return (
    <svg class="in-place" viewBox={`0 0 ${side} ${side}`} role="img" aria-label={`The crystal, now ${nameOf(crystal.shape!)}`}>
      <image href={size.url} width={size.width} height={size.height} />
      <path d={ring.join("")} class="halo" />
      <path d={ring.join("")} stroke={colourOf(crystal.shape!, shapes)} class="outline" />
    </svg>
  );
}

