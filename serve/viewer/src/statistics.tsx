// Size distribution and ternary of one selection of wells and depths, or of two side by side.
import { useMemo } from "preact/hooks";
import { scaleLinear, scaleLog } from "d3-scale";
import { area, line } from "d3-shape";
import { ask, endpoint, type Crystal } from "./api";
import { useData } from "./hooks";
import { Nothing, Trouble, Waiting, number, percent } from "./parts";
import { refine } from "./route";
import { corners, logEdges, statisticsOf, type Estimate, type Sampled, type Statistics } from "./sampling";
import { nameOf } from "./shapes";
import { useWells } from "./wells";

const MOST = 100_000;
const BINS = 24;
const FIELDS = "tile_id,shape,equivalent_diameter_um";

interface Selection {
  wells: string[];
  depth: string | null;
}

interface Loaded {
  crystals: Sampled[];
  cut: boolean;
}

export function StatisticsView({ query }: { query: URLSearchParams }) {
  const { data: wells, error, reload } = useWells();
  const models = useData("models", () => ask(endpoint.GET("/v1/models"))).data;
  const first = query.getAll("a").length ? query.getAll("a") : query.getAll("well");
  const a: Selection = { wells: first, depth: query.get("adepth") };
  const b: Selection = { wells: query.getAll("b"), depth: query.get("bdepth") };
  const names = (wells ?? []).map(({ well }) => well);
  if (error) return <Trouble error={error} retry={reload} />;
  if (!wells || !models) return <Waiting what="the wells" />;
  return (
    <>
      <h1>Statistics</h1>
      <div class="selections">
        <Chooser name="a" title="Selection A" names={names} selection={a} />
        <Chooser name="b" title="Selection B, to compare" names={names} selection={b} />
      </div>
      {a.wells.length ? (
        <Compared a={a} b={b} shapes={models.shapes} />
      ) : (
        <Nothing>
          <p>Choose wells for selection A.</p>
        </Nothing>
      )}
    </>
  );
}

function Chooser(props: { name: string; title: string; names: string[]; selection: Selection }) {
  const { name, selection } = props;
  const [top = "", base = ""] = (selection.depth ?? "").split(":");
  const depth = (low: string, high: string) => refine({ [`${name}depth`]: low || high ? `${low}:${high}` : null });
  return (
    <fieldset>
      <legend>{props.title}</legend>
      <div class="choices">
        {props.names.map((well) => (
          <label key={well}>
            <input
              type="checkbox"
              checked={selection.wells.includes(well)}
              onChange={(event) =>
                refine({
                  [name]: event.currentTarget.checked
                    ? [...selection.wells, well]
                    : selection.wells.filter((each) => each !== well),
                  ...(name === "a" && { well: null }),
                })
              }
            />
            {well}
          </label>
        ))}
      </div>
      <label>
        From{" "}
        <input type="number" step="any" value={top} onChange={(event) => depth(event.currentTarget.value, base)} />
      </label>{" "}
      <label>
        to{" "}
        <input type="number" step="any" value={base} onChange={(event) => depth(top, event.currentTarget.value)} /> m
      </label>
    </fieldset>
  );
}

async function load({ wells, depth }: Selection): Promise<Loaded> {
  const pages = await Promise.all(
    wells.map((well) =>
      ask(
        endpoint.GET("/v1/wells/{well}/crystals", {
          params: {
            path: { well },
            query: { depth: depth ?? undefined, corrected: true, fields: FIELDS, masks: "none", limit: MOST },
          },
        }),
      ),
    ),
  );
  const crystals = pages.flatMap((page) => page.crystals.map(sampled));
  return { crystals, cut: pages.some((page) => page.next !== null) };
}

function sampled(crystal: Crystal): Sampled {
  return {
    tile_id: crystal.tile_id ?? "",
    shape: crystal.shape ?? "",
    size: crystal.equivalent_diameter_um ?? null,
  };
}

function Compared({ a, b, shapes }: { a: Selection; b: Selection; shapes: string[] }) {
  const { data, error, reload } = useData(JSON.stringify([a, b]), () =>
    Promise.all([load(a), b.wells.length ? load(b) : null]),
  );
  const results = useMemo(() => {
    if (!data) return null;
    const loaded = data.filter((each) => each !== null);
    let [least, most] = [Infinity, 0];
    for (const { crystals } of loaded)
      for (const { size } of crystals)
        if (size !== null && size > 0) [least, most] = [Math.min(least, size), Math.max(most, size)];
    const range: [number, number] = most > 0 ? [least * 0.95, most * 1.05] : [0.1, 10];
    return { range, of: loaded.map(({ crystals }) => statisticsOf(crystals, shapes, range, BINS)) };
  }, [data]);
  if (error) return <Trouble error={error} retry={reload} />;
  if (!data || !results) return <Waiting what="the crystals" />;
  const [first, second] = results.of;
  if (!first!.crystals)
    return (
      <Nothing>
        <p>Selection A has no crystals at these depths.</p>
      </Nothing>
    );
  return (
    <>
      {data.some((each) => each?.cut) && (
        <p class="inline-trouble" role="alert">
          Only the first {number(MOST)} crystals of each well are counted; choose a smaller range of depths.
        </p>
      )}
      <div class="charts">
        <Distribution results={results.of} range={results.range} />
        <Ternary results={results.of} shapes={shapes} />
      </div>
      <table>
        <caption>95 % intervals in brackets, by drawing tiles again</caption>
        <thead>
          <tr>
            <th scope="col">Measure</th>
            <th scope="col">A</th>
            {second && <th scope="col">B</th>}
            {second && <th scope="col">Apart?</th>}
          </tr>
        </thead>
        <tbody>
          <Line title="Crystals" values={results.of.map(({ crystals }) => number(crystals))} two={!!second} />
          <Line title="Tiles" values={results.of.map(({ tiles }) => number(tiles))} two={!!second} />
          {shapes.map((shape) => (
            <Estimates key={shape} title={nameOf(shape)} of={results.of.map(({ fractions }) => fractions[shape]!)} write={(value) => percent(value, 1)} />
          ))}
          {(["p10", "p50", "p90"] as const).map((name) => (
            <Estimates
              key={name}
              title={`${name.toUpperCase()} of size, µm`}
              of={results.of.map(({ quantiles }) => quantiles?.[name] ?? { value: NaN, low: NaN, high: NaN })}
              write={(value) => number(value)}
            />
          ))}
        </tbody>
      </table>
      {results.of.some(({ unsized }) => unsized > 0) && (
        <p class="hint">
          {number(results.of.reduce((sum, { unsized }) => sum + unsized, 0))} crystals are of tiles whose pixel
          size is unknown; they count for the shapes only.
        </p>
      )}
    </>
  );
}

function Line({ title, values, two }: { title: string; values: string[]; two: boolean }) {
  return (
    <tr>
      <th scope="row">{title}</th>
      {values.map((value, index) => (
        <td key={index}>{value}</td>
      ))}
      {two && <td />}
    </tr>
  );
}

function Estimates({ title, of, write }: { title: string; of: Estimate[]; write: (value: number) => string }) {
  const [a, b] = of;
  const apart = a && b && (a.low > b.high || b.low > a.high);
  return (
    <tr>
      <th scope="row">{title}</th>
      {of.map(({ value, low, high }, index) => (
        <td key={index}>
          {write(value)} {isFinite(low) && `(${write(low)} – ${write(high)})`}
        </td>
      ))}
      {b && <td>{apart ? "yes: the intervals do not overlap" : "not certain"}</td>}
    </tr>
  );
}

const [WIDTH, HEIGHT, EDGE] = [520, 340, 44];

function Distribution({ results, range }: { results: Statistics[]; range: [number, number] }) {
  const edges = logEdges(range[0], range[1], BINS);
  const most = Math.max(...results.flatMap(({ distribution }) => distribution.map(({ value, high }) => (isFinite(high) ? high : value))));
  const x = scaleLog(range, [EDGE, WIDTH - 10]);
  const y = scaleLinear([0, most || 1], [HEIGHT - EDGE, 12]).nice(5);
  const middle = (bin: number) => x(Math.sqrt(edges[bin]! * edges[bin + 1]!));
  return (
    <figure>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label="Distribution of sizes">
        {y.ticks(5).map((tick) => (
          <g key={tick} class="grid">
            <line x1={EDGE} x2={WIDTH - 10} y1={y(tick)} y2={y(tick)} />
            <text x={EDGE - 6} y={y(tick) + 4} text-anchor="end">{percent(tick)}</text>
          </g>
        ))}
        {x.ticks(6).map((tick) => (
          <text key={tick} x={x(tick)} y={HEIGHT - EDGE + 16} text-anchor="middle" class="small">
            {x.tickFormat(6)(tick) && number(tick, 3)}
          </text>
        ))}
        <text x={(WIDTH + EDGE) / 2} y={HEIGHT - 8} text-anchor="middle">Equivalent diameter, µm</text>
        {results.map(({ distribution }, index) => (
          <g key={index} class={`of-${"ab"[index]}`}>
            <path
              class="band"
              d={
                area<Estimate>()
                  .defined(({ low }) => isFinite(low))
                  .x((_, bin) => middle(bin))
                  .y0(({ low }) => y(low))
                  .y1(({ high }) => y(high))(distribution) ?? ""
              }
            />
            <path
              class="curve"
              d={line<Estimate>().x((_, bin) => middle(bin)).y(({ value }) => y(value))(distribution) ?? ""}
            />
          </g>
        ))}
      </svg>
      <figcaption>
        Share of crystals by size; bands are 95 % intervals. <Legend count={results.length} />
      </figcaption>
    </figure>
  );
}

function Legend({ count }: { count: number }) {
  return (
    <span>
      <b class="key-a">A solid</b>
      {count > 1 && (
        <>
          , <b class="key-b">B dashed</b>
        </>
      )}
    </span>
  );
}

function Ternary({ results, shapes }: { results: Statistics[]; shapes: string[] }) {
  const { names, of } = corners(shapes);
  const side = 300;
  const high = (side * Math.sqrt(3)) / 2;
  const [left, top] = [70, 30];
  const at = (shares: number[]): [number, number] => {
    const [a, b, c] = of(shares);
    const total = a + b + c || 1;
    return [left + (side * (b + a / 2)) / total, top + high - (high * a) / total];
  };
  const most = 600;
  return (
    <figure>
      <svg viewBox={`0 0 ${side + 140} ${high + 64}`} role="img" aria-label="Ternary of shapes">
        {[0.2, 0.4, 0.6, 0.8].flatMap((share) => [
          [[share, 1 - share, 0], [share, 0, 1 - share]],
          [[1 - share, share, 0], [0, share, 1 - share]],
          [[1 - share, 0, share], [0, 1 - share, share]],
        ].map(([from, to], index) => {
          const [[x1, y1], [x2, y2]] = [at(from!), at(to!)];
          return <line key={`${share} ${index}`} {...{ x1, y1, x2, y2 }} class="grid-line" />;
        }))}
        <path d={`M${at([1, 0, 0])}L${at([0, 1, 0])}L${at([0, 0, 1])}Z`} class="triangle" />
        <text x={left + side / 2} y={top - 10} text-anchor="middle">{names[0]}</text>
        <text x={left + side} y={top + high + 20} text-anchor="middle">{names[1]}</text>
        <text x={left} y={top + high + 20} text-anchor="middle">{names[2]}</text>
        {results.map(({ byTile, draws, fractions }, index) => {
          const mean = at(shapes.map((shape) => fractions[shape]!.value));
          const every = Math.ceil(byTile.length / most);
          return (
            <g key={index} class={`of-${"ab"[index]}`}>
              {byTile.filter((_, i) => i % every === 0).map((shares, i) => {
                const [x, y] = at(shares);
                return index ? (
                  <rect key={i} x={x - 2} y={y - 2} width="4" height="4" class="tile-mark" />
                ) : (
                  <circle key={i} cx={x} cy={y} r="2.2" class="tile-mark" />
                );
              })}
              {draws.map((shares, i) => {
                const [x, y] = at(shares);
                return <circle key={`d${i}`} cx={x} cy={y} r="1" class="draw-mark" />;
              })}
              <path d={index ? `M${mean[0] - 6},${mean[1] - 6}h12v12h-12Z` : `M${mean[0] - 7},${mean[1]}a7,7 0 1,0 14,0a7,7 0 1,0 -14,0`} class="mean-mark" />
            </g>
          );
        })}
      </svg>
      <figcaption>
        Shapes of each tile (small), of the selection (large), and of 300 draws of tiles (dots).
        A round, B square.
      </figcaption>
    </figure>
  );
}
