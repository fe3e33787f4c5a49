// How good the classifier is on this catalogue, by the corrections of people.
import { ask, endpoint, fetchJson, pathOf } from "./api";
import type { Correction } from "./corrections";
import { useData } from "./hooks";
import { Nothing, Trouble, Waiting, number, percent } from "./parts";
import { nameOf } from "./shapes";

const MOST = 10_000;
const PAGE = 1000;
const Z = 1.96;

export function ModelsView({ query }: { query: URLSearchParams }) {
  const wells = query.getAll("well");
  const well = wells.length === 1 ? wells[0] : undefined;
  const models = useData("models", () => ask(endpoint.GET("/v1/models")));
  const { data, error, reload } = useData(`corrections ${well}`, () => load(well));
  return (
    <>
      <h1>Models on {well ?? "this catalogue"}</h1>
      {models.data && (
        <dl>
          <dt>Segmenter</dt>
          <dd>
            <code>{models.data.segmenter}</code>
          </dd>
          <dt>Classifier</dt>
          <dd>
            <code>{models.data.classifier}</code>
          </dd>
        </dl>
      )}
      {error || models.error ? (
        <Trouble error={(error ?? models.error)!} retry={error ? reload : models.reload} />
      ) : !data || !models.data ? (
        <Waiting what="the corrections" />
      ) : (
        <Card corrections={data} shapes={models.data.shapes} />
      )}
    </>
  );
}

/** The corrections in effect. */
async function load(well: string | undefined): Promise<Correction[]> {
  const rows: Correction[] = [];
  let cursor: string | null = null;
  do {
    const page: { corrections: Correction[]; next: string | null } = await fetchJson(
      pathOf(["corrections"], { well, limit: PAGE, cursor }),
    );
    rows.push(...page.corrections);
    cursor = page.next;
  } while (cursor !== null && rows.length < MOST);
  return rows.filter(({ in_effect, operation }) => in_effect && operation !== "undo");
}

function Card({ corrections, shapes }: { corrections: Correction[]; shapes: string[] }) {
  const named = corrections.filter(({ operation, was_shape }) => operation === "shape" && was_shape);
  if (!corrections.length)
    return (
      <Nothing>
        <p>
          Nobody has corrected a crystal yet, so how good the models are on this rock is not known.{" "}
          <a href="#/correct">Correct or confirm some</a>; about 200 give useful numbers.
        </p>
      </Nothing>
    );
  const classifiers = [...new Set(named.map(({ classifier }) => classifier ?? "unknown"))];
  const counts = Map.groupBy(corrections, ({ operation }) => operation);
  return (
    <>
      <p>
        {number(corrections.length)} corrections:{" "}
        {[...counts].map(([operation, rows]) => `${number(rows.length)} ${operation}`).join(", ")}.
      </p>
      {classifiers.map((classifier) => (
        <Named
          key={classifier}
          classifier={classifier}
          rows={named.filter((row) => (row.classifier ?? "unknown") === classifier)}
          shapes={shapes}
        />
      ))}
      <p class="hint">
        The queue shows the least sure crystals first, so crystals named there are harder than most, and
        these numbers are lower than those of all crystals.
      </p>
    </>
  );
}

function Named({ classifier, rows, shapes }: { classifier: string; rows: Correction[]; shapes: string[] }) {
  const right = rows.filter(({ shape, was_shape }) => shape === was_shape).length;
  const [low, high] = wilson(right, rows.length);
  return (
    <section>
      <h2>
        Classifier <code>{classifier}</code>
      </h2>
      <p>
        {percent(right / rows.length)} of {number(rows.length)} shapes are right (95 % interval {percent(low)} –{" "}
        {percent(high)}).
      </p>
      <div class="scrolled" tabIndex={0} role="region" aria-label="Confusion">
        <table>
          <caption>Rows: what people say. Columns: what the classifier said.</caption>
          <thead>
            <tr>
              <td />
              {shapes.map((shape) => (
                <th scope="col" key={shape}>
                  {nameOf(shape)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shapes.map((said) => (
              <tr key={said}>
                <th scope="row">{nameOf(said)}</th>
                {shapes.map((was) => (
                  <td key={was} class={said === was ? "right" : ""}>
                    {number(rows.filter(({ shape, was_shape }) => shape === said && was_shape === was).length)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** The 95 % interval of a share, after Wilson (1927). */
function wilson(count: number, of: number): [number, number] {
  const share = count / of;
  const middle = (share + Z ** 2 / (2 * of)) / (1 + Z ** 2 / of);
  const half = (Z / (1 + Z ** 2 / of)) * Math.sqrt((share * (1 - share)) / of + Z ** 2 / (4 * of ** 2));
  return [middle - half, middle + half];
}
