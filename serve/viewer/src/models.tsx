// How good the models are on this catalogue, by the corrections of people.
import { ask, endpoint, fetchJson, pathOf } from "./api";
import { useData } from "./hooks";
import { Nothing, Trouble, Waiting, number, percent } from "./parts";
import { nameOf } from "./shapes";

interface Evaluated {
  corrections: number;
  crystals: number;
  classifiers: {
    classifier: string;
    n: number;
    accuracy: number | null;
    intervals: Record<string, [number, number]>;
    n_by_shape?: Record<string, number>;
    confusion?: number[][];
    shapes?: string[];
    f1?: Record<string, number | null> | number[];
  }[];
  segmenters: {
    segmenter: string;
    n_tiles: number;
    n: number;
    kept: number;
    deleted: number;
    redrawn: number;
    added: number;
    mean_iou: number | null;
    precision: number | null;
    recall: number | null;
    intervals?: Record<string, [number, number]>;
  }[];
  note: string | null;
}

export function ModelsView({ query }: { query: URLSearchParams }) {
  const wells = query.getAll("well");
  const well = wells.length === 1 ? wells[0] : undefined;
  const models = useData("models", () => ask(endpoint.GET("/v1/models")));
  const { data, error, reload } = useData(`evaluation ${well}`, () =>
    fetchJson<Evaluated>(pathOf(["evaluation"], { well })),
  );
  return (
    <>
      <h1>Models on {well ?? "this catalogue"}</h1>
      {models.data && (
        <dl>
          <dt>Segmenter</dt>
          <dd><code>{models.data.segmenter}</code></dd>
          <dt>Classifier</dt>
          <dd><code>{models.data.classifier}</code></dd>
        </dl>
      )}
      {error ? (
        <Trouble error={error} retry={reload} />
      ) : !data ? (
        <Waiting what="the evaluation" />
      ) : (
        <Card evaluated={data} />
      )}
    </>
  );
}

function Card({ evaluated }: { evaluated: Evaluated }) {
  if (!evaluated.corrections)
    return (
      <Nothing>
        <p>
          Nobody has corrected a crystal yet, so how good the models are on this rock is not known.{" "}
          <a href="#/correct">Correct or confirm some</a>; about 200 give useful numbers.
        </p>
      </Nothing>
    );
  return (
    <>
      <p>
        From {number(evaluated.corrections)} corrections and confirmations of {number(evaluated.crystals)} crystals.
      </p>
      {evaluated.note && <p class="hint">{evaluated.note}</p>}
      {evaluated.classifiers.map((each) => (
        <section key={each.classifier}>
          <h2>
            Classifier <code>{each.classifier}</code>
          </h2>
          <p>
            {percent(each.accuracy)} of {number(each.n)} shapes are right
            {each.intervals?.accuracy && <> (95 % interval {each.intervals.accuracy.map((end) => percent(end)).join(" – ")})</>}.
          </p>
          {each.confusion && each.shapes && <Confusion counts={each.confusion} shapes={each.shapes} />}
        </section>
      ))}
      {evaluated.segmenters.map((each) => (
        <section key={each.segmenter}>
          <h2>
            Segmenter <code>{each.segmenter}</code>
          </h2>
          <dl>
            <dt>Kept, deleted, redrawn, added</dt>
            <dd>
              {number(each.kept)}, {number(each.deleted)}, {number(each.redrawn)}, {number(each.added)} of{" "}
              {number(each.n)} in {number(each.n_tiles)} tiles
            </dd>
            <dt>Precision</dt>
            <dd>{percent(each.precision)}</dd>
            <dt>Recall</dt>
            <dd>{percent(each.recall)}</dd>
            <dt>Mean IoU of redrawn ones</dt>
            <dd>{number(each.mean_iou)}</dd>
          </dl>
        </section>
      ))}
      <p class="hint">
        <code>mcn export CATALOG FOLDER --corrections</code> writes these crystals as training data.
      </p>
    </>
  );
}

function Confusion({ counts, shapes }: { counts: number[][]; shapes: string[] }) {
  return (
    <div class="scrolled" tabIndex={0} role="region" aria-label="Confusion">
      <table>
        <caption>Rows: what people say. Columns: what the classifier said.</caption>
        <thead>
          <tr>
            <td />
            {shapes.map((shape) => (
              <th scope="col" key={shape}>{nameOf(shape)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {counts.map((row, index) => (
            <tr key={shapes[index]}>
              <th scope="row">{nameOf(shapes[index] ?? "")}</th>
              {row.map((count, column) => (
                <td key={column} class={column === index ? "right" : ""}>{number(count)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
