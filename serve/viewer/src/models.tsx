// The models on this rock: how good they are by what people corrected, with intervals.
import { ask, endpoint, type ClassifierMetrics, type Evaluation, type SegmenterMetrics } from "./api";
import { useData } from "./hooks";
import { Nothing, Trouble, Waiting, number, percent } from "./parts";
import { nameOf } from "./shapes";

export function ModelsView({ query }: { query: URLSearchParams }) {
  const wells = query.getAll("well");
  const models = useData("models", () => ask(endpoint.GET("/v1/models")));
  const { data, error, reload } = useData(`evaluation ${JSON.stringify(wells)}`, () =>
    ask(endpoint.GET("/v1/evaluation", { params: { query: { well: wells } } })),
  );
  return (
    <>
      <h1>The models on {wells.length ? wells.join(", ") : "this rock"}</h1>
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
      {error ? (
        <Trouble error={error} retry={reload} />
      ) : data ? (
        <Card evaluation={data} />
      ) : (
        <Waiting what="the corrections" />
      )}
    </>
  );
}

function Card({ evaluation }: { evaluation: Evaluation }) {
  const { corrections, by_operation, crystals, tiles, classifiers, segmenters, note } = evaluation;
  if (!corrections)
    return (
      <Nothing>
        <p>
          Nobody has corrected a crystal yet, so how good the models are on this rock is not known.{" "}
          <a href="#/correct">Correct or confirm some</a>; about 200 give useful numbers.
        </p>
      </Nothing>
    );
  const made = Object.entries(by_operation).map(([operation, count]) => `${number(count)} ${operation}`);
  return (
    <>
      <p>
        {number(corrections)} corrections of {number(crystals)} crystals in {number(tiles)} tiles:{" "}
        {made.join(", ")}.
      </p>
      {classifiers.map((metrics) => (
        <OfClassifier key={metrics.classifier} metrics={metrics} />
      ))}
      {segmenters.map((metrics) => (
        <OfSegmenter key={metrics.segmenter} metrics={metrics} />
      ))}
      {!segmenters.length && (
        <p>
          How good the outlines are is not known yet: correct those of some tiles, or name every crystal of a
          tile.
        </p>
      )}
      <p class="hint">{note}</p>
    </>
  );
}

function OfClassifier({ metrics }: { metrics: ClassifierMetrics }) {
  const { classifier, n, n_tiles, shapes, confusion, intervals } = metrics;
  return (
    <section>
      <h2>
        Classifier <code>{classifier}</code>
      </h2>
      <p>
        {share(metrics.accuracy, intervals.accuracy)} of {number(n)} shapes in {number(n_tiles)} tiles are right.
      </p>
      <div class="scrolled" tabIndex={0} role="region" aria-label="By shape">
        <table>
          <caption>By shape, with 95 % intervals</caption>
          <thead>
            <tr>
              <td />
              <th scope="col">crystals</th>
              <th scope="col">precision: right of those called so</th>
              <th scope="col">recall: found of those that are</th>
            </tr>
          </thead>
          <tbody>
            {shapes.map((shape) => (
              <tr key={shape}>
                <th scope="row">{nameOf(shape)}</th>
                <td>{number(metrics.n_by_shape[shape])}</td>
                <td>{share(metrics.precision[shape], ofShape(intervals.precision, shape))}</td>
                <td>{share(metrics.recall[shape], ofShape(intervals.recall, shape))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
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
            {shapes.map((said, row) => (
              <tr key={said}>
                <th scope="row">{nameOf(said)}</th>
                {shapes.map((was, column) => (
                  <td key={was} class={row === column ? "right" : ""}>
                    {number(confusion[row]?.[column])}
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

function OfSegmenter({ metrics }: { metrics: SegmenterMetrics }) {
  const { segmenter, n, n_tiles, kept, deleted, redrawn, added, intervals } = metrics;
  return (
    <section>
      <h2>
        Segmenter <code>{segmenter}</code>
      </h2>
      <p>
        Of {number(n)} outlines in {number(n_tiles)} judged tiles, people kept {number(kept)}, deleted{" "}
        {number(deleted)} and redrew {number(redrawn)}; they added {number(added)}.
      </p>
      <dl>
        <dt>Precision</dt>
        <dd>{share(metrics.precision, intervals.precision)} of its outlines are crystals</dd>
        <dt>Recall</dt>
        <dd>{share(metrics.recall, intervals.recall)} of the crystals are found</dd>
        <dt>Mean IoU of those redrawn</dt>
        <dd>{share(metrics.mean_iou, intervals.mean_iou)}</dd>
      </dl>
    </section>
  );
}

/** A share with its 95 % interval. */
function share(value: number | null | undefined, interval: unknown): string {
  if (value === null || value === undefined) return "–";
  const [low, high] = Array.isArray(interval) ? (interval as number[]) : [];
  return low === undefined ? percent(value) : `${percent(value)} (${percent(low)} – ${percent(high)})`;
}

function ofShape(intervals: unknown, shape: string): unknown {
  return (intervals as Record<string, unknown> | null)?.[shape];
}
