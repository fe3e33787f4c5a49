// All wells: a list with search, and a map if their places are known.
import { useMemo } from "preact/hooks";
import { ask, endpoint, type Well } from "./api";
import { useData } from "./hooks";
import { Nothing, Trouble, Waiting, metres, number } from "./parts";
import { addressOf, go, refine } from "./route";
import { scaleLinear } from "d3-scale";

const MOST_COMPARED = 4;

export function useWells() {
  return useData("wells", async () => (await ask(endpoint.GET("/v1/wells"))).wells);
}

export function WellsView({ query }: { query: URLSearchParams }) {
  const { data: wells, error, reload } = useWells();
  const sought = query.get("search") ?? "";
  const chosen = query.getAll("well");
  const shown = useMemo(() => {
    const words = fold(sought).split(/\s+/).filter(Boolean);
    return (wells ?? []).filter((well) => {
      const text = fold(Object.values(well).join(" "));
      return words.every((word) => text.includes(word));
    });
  }, [wells, sought]);
  if (error) return <Trouble error={error} retry={reload} />;
  if (!wells) return <Waiting what="the wells" />;
  if (!wells.length)
    return (
      <Nothing>
        <h1>No wells yet</h1>
        <p>
          This catalogue is empty. Scan a core into it with <code>mcn scan TILES CATALOG</code>, then
          load this page again.
        </p>
      </Nothing>
    );
  const toggle = (name: string, on: boolean) =>
    refine({ well: on ? [...chosen, name] : chosen.filter((each) => each !== name) });
  return (
    <>
      <h1>Wells</h1>
      <div class="toolbar">
        <label>
          Search{" "}
          <input
            type="search"
            value={sought}
            onInput={(event) => refine({ search: event.currentTarget.value })}
          />
        </label>
        <span role="status">
          {shown.length === wells.length
            ? `${number(wells.length)} wells`
            : `${number(shown.length)} of ${number(wells.length)} wells`}
        </span>
        {chosen.length > 0 && (
          <>
            <a class="button" href={addressOf("log", { well: chosen })}>
              {chosen.length === 1 ? "Depth log" : `Compare ${chosen.length} wells`}
            </a>
            <button type="button" class="quiet" onClick={() => refine({ well: [] })}>
              Choose none
            </button>
          </>
        )}
      </div>
      <WellMap wells={shown} />
      <div class="scrolled" tabIndex={0} role="region" aria-label="Table of wells">
        <table class="wells">
          <thead>
            <tr>
              <th scope="col">
                <span class="for-readers">Compare</span>
              </th>
              <th scope="col">Well</th>
              <th scope="col">Depth, m</th>
              <th scope="col">Tiles</th>
              <th scope="col">Failed</th>
              <th scope="col">Crystals</th>
              <th scope="col">Last scan</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((well) => (
              <tr key={well.well}>
                <td>
                  <input
                    type="checkbox"
                    aria-label={`Compare ${well.well}`}
                    checked={chosen.includes(well.well)}
                    disabled={!chosen.includes(well.well) && chosen.length >= MOST_COMPARED}
                    onChange={(event) => toggle(well.well, event.currentTarget.checked)}
                  />
                </td>
                <th scope="row">
                  <a href={addressOf("log", { well: well.well })}>{well.well}</a>
                </th>
                <td>
                  {metres(well.depth_min_m)} – {metres(well.depth_max_m)}
                </td>
                <td>{number(well.tiles)}</td>
                <td>
                  {well.tiles_failed ? (
                    <a href={addressOf("log", { well: well.well, tiles: "failed" })}>
                      <strong>{number(well.tiles_failed)}</strong>
                    </a>
                  ) : (
                    "0"
                  )}
                </td>
                <td>{number(well.crystals)}</td>
                <td>{well.scanned_at?.slice(0, 10) ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** Places of wells, north up, in degrees; nothing is drawn below them. */
function WellMap({ wells }: { wells: Well[] }) {
  const placed = wells.flatMap((well) => {
    const { latitude, longitude } = well;
    return typeof latitude === "number" && typeof longitude === "number"
      ? [{ name: well.well, latitude, longitude }]
      : [];
  });
  if (!placed.length) return null;
  const [width, height, edge] = [560, 300, 46];
  const middle = (values: number[]) => (Math.min(...values) + Math.max(...values)) / 2;
  const east = middle(placed.map((well) => well.longitude));
  const north = middle(placed.map((well) => well.latitude));
  const shrink = Math.max(0.05, Math.cos((north * Math.PI) / 180));
  const far = (values: number[], centre: number) =>
    Math.max(...values.map((value) => Math.abs(value - centre)));
  const half = Math.max(
    0.005,
    far(placed.map((well) => well.latitude), north),
    (far(placed.map((well) => well.longitude), east) * shrink * height) / width,
  );
  const y = scaleLinear([north + half, north - half], [edge, height - edge]);
  const wide = (half / shrink) * ((width - 2 * edge) / (height - 2 * edge));
  const x = scaleLinear([east - wide, east + wide], [edge, width - edge]);
  return (
    <figure class="map">
      <svg viewBox={`0 0 ${width} ${height}`} role="group" aria-label="Map of the wells">
        {x.ticks(5).map((tick) => (
          <g key={`x${tick}`} class="grid">
            <line x1={x(tick)} x2={x(tick)} y1={edge / 2} y2={height - edge / 2} />
            <text x={x(tick)} y={height - 6} text-anchor="middle">{`${tick}°`}</text>
          </g>
        ))}
        {y.ticks(4).map((tick) => (
          <g key={`y${tick}`} class="grid">
            <line x1={edge} x2={width - edge / 2} y1={y(tick)} y2={y(tick)} />
            <text x={edge - 4} y={y(tick) + 3} text-anchor="end">{`${tick}°`}</text>
          </g>
        ))}
        {placed.map((well) => (
          <a
            key={well.name}
            href={addressOf("log", { well: well.name })}
            onClick={() => go("log", { well: well.name })}
          >
            <circle cx={x(well.longitude)} cy={y(well.latitude)} r="6" class="well-mark" />
            <text x={x(well.longitude) + 9} y={y(well.latitude) + 4}>
              {well.name}
            </text>
          </a>
        ))}
      </svg>
      <figcaption>Longitude and latitude in degrees.</figcaption>
    </figure>
  );
}

function fold(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
