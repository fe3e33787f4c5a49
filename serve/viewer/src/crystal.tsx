// What is known about the chosen crystals, and the buttons that correct them.
import { fetchBlob, fetchJson, pathOf, type Crystal } from "./api";
import { columnOf, describe, timeOf, type Correction, type Operation } from "./corrections";
import { useData } from "./hooks";
import { Picture, ShapeName, number, percent } from "./parts";
import { colourOf, nameOf } from "./shapes";
import { useEffect, useState } from "preact/hooks";

const MEASURES: [keyof Crystal & string, string, string][] = [
  ["equivalent_diameter_um", "Equivalent diameter", "µm"],
  ["area_um2", "Area", "µm²"],
  ["major_axis_um", "Major axis", "µm"],
  ["minor_axis_um", "Minor axis", "µm"],
  ["feret_max_um", "Largest Feret", "µm"],
  ["perimeter_um", "Perimeter", "µm"],
  ["aspect_ratio", "Aspect ratio", ""],
  ["circularity", "Circularity", ""],
  ["solidity", "Solidity", ""],
  ["area_px", "Area", "px"],
];

interface Props {
  selection: Crystal[];
  /** All crystals of the tile. */
  crystals: Crystal[];
  shapes: string[];
  mayCorrect: boolean;
  mayAnalyze: boolean;
  note: string;
  onNote: (note: string) => void;
  onName: (shape: string) => void;
  onAction: (action: Operation) => void;
  onFocus: (crystal: Crystal) => void;
}

export function CrystalPanel(props: Props) {
  const { selection, shapes } = props;
  const only = selection.length === 1 ? selection[0]! : null;
  return (
    <section class="crystal" aria-label="Chosen crystals">
      <h2>{only ? <ShapeName shape={only.shape!} shapes={shapes} /> : `${selection.length} crystals`}</h2>
      {props.mayCorrect && (
        <>
          <div class="naming" role="group" aria-label="Name the shape">
            {shapes.map((shape, index) => (
              <button key={shape} type="button" onClick={() => props.onName(shape)}>
                <ShapeName shape={shape} shapes={shapes} /> <kbd>{index + 1}</kbd>
              </button>
            ))}
          </div>
          <div class="toolbar" role="group" aria-label="Change">
            <button type="button" onClick={() => props.onAction("delete")}>
              Delete <kbd>D</kbd>
            </button>
            {only ? (
              <>
                <button type="button" onClick={() => props.onAction("redraw")}>
                  Redraw <kbd>R</kbd>
                </button>
                <button type="button" onClick={() => props.onAction("split")}>
                  Split <kbd>X</kbd>
                </button>
              </>
            ) : (
              <button type="button" onClick={() => props.onAction("merge")}>
                Merge <kbd>M</kbd>
              </button>
            )}
          </div>
          <label class="note">
            Note, stored with the next correction
            <input
              maxLength={500}
              value={props.note}
              onInput={(event) => props.onNote(event.currentTarget.value)}
            />
          </label>
        </>
      )}
      {only && <Measures crystal={only} shapes={shapes} />}
      {only && <History crystal={only} />}
      {only && props.mayAnalyze && (
        <Evidence
          key={only.crystal_id}
          crystal={only}
          crystals={props.crystals}
          shapes={shapes}
          onFocus={props.onFocus}
        />
      )}
    </section>
  );
}

function Measures({ crystal, shapes }: { crystal: Crystal; shapes: string[] }) {
  const row = crystal as Record<string, unknown>;
  const measured = MEASURES.filter(([name]) => typeof row[name] === "number");
  return (
    <>
      <ul class="probabilities" aria-label="Probabilities">
        {shapes.map((shape) => {
          const value = row[`p_${shape}`];
          if (typeof value !== "number") return null;
          return (
            <li key={shape}>
              <span>{nameOf(shape)}</span>
              <i style={{ width: `${(60 * value).toFixed(1)}%`, background: colourOf(shape, shapes) }} />
              <span>{percent(value)}</span>
            </li>
          );
        })}
      </ul>
      <dl>
        <dt>Facets</dt>
        <dd>{nameOf(crystal.facet ?? "–")}</dd>
        <dt>Confidence</dt>
        <dd>{percent(crystal.confidence)}</dd>
        {measured.map(([name, title, unit]) => (
          <>
            <dt>{title}</dt>
            <dd>
              {number(row[name] as number)} {unit}
            </dd>
          </>
        ))}
        {crystal.touches_edge && (
          <>
            <dt>Edge</dt>
            <dd>touches the edge of the tile</dd>
          </>
        )}
      </dl>
    </>
  );
}

/** Who made of this crystal what, and when. */
function History({ crystal }: { crystal: Crystal }) {
  const id = crystal.crystal_id!;
  const latest = columnOf(crystal, "correction_id");
  const { data } = useData(latest && `${id}\n${latest}`, () =>
    fetchJson<{ history: Correction[] }>(pathOf(["crystals", id], { well: crystal.well })),
  );
  if (!latest || !data) return null;
  return (
    <ol class="history" aria-label="Corrections of this crystal">
      {data.history.map((each) => (
        <li key={each.correction_id} class={each.in_effect ? "in-effect" : ""}>
          {each.corrected_by}: {describe(each.operation, each.shape)}
          {each.was_shape && each.was_shape !== each.shape && <> (was {nameOf(each.was_shape)})</>},{" "}
          {timeOf(each.corrected_at)}
          {each.note && <q>{each.note}</q>}
        </li>
      ))}
    </ol>
  );
}

const MOST_SIMILAR = 8;

/** What the classifier looked at, and crystals of this tile that it sees alike. */
function Evidence(props: {
  crystal: Crystal;
  crystals: Crystal[];
  shapes: string[];
  onFocus: (crystal: Crystal) => void;
}) {
  const { crystal, shapes } = props;
  const id = crystal.crystal_id!;
  const [open, setOpen] = useState(false);
  const shape = shapes.includes(crystal.shape!) ? crystal.shape! : shapes[0]!;
  const similar = open ? mostSimilar(crystal, props.crystals, shapes) : [];
  const crop = (other: Crystal, size: number) =>
    pathOf(["crystals", other.crystal_id!, "crop"], { size, well: crystal.well });
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Evidence and similar crystals</summary>
      {open && (
        <>
          <div class="evidence">
            <figure>
              <Picture path={crop(crystal, 128)} alt="The crystal" />
              <figcaption>the crystal</figcaption>
            </figure>
            <HeatMap id={id} well={crystal.well!} shape={shape} />
          </div>
          <p class="hint">Crystals of this tile with the most similar probabilities and size:</p>
          <ul class="similar">
            {similar.map((other) => (
              <li key={other.crystal_id}>
                <button type="button" onClick={() => props.onFocus(other)}>
                  <Picture path={crop(other, 72)} alt="" />
                  <span>{nameOf(other.shape!)}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </details>
  );
}

/** The evidence for a shape, in the crop that the classifier sees. */
function HeatMap({ id, well, shape }: { id: string; well: string; shape: string }) {
  const { data, error } = useData(`${id}\n${shape}`, async () => {
    const form = new FormData();
    form.append("crop", await fetchBlob(pathOf(["crystals", id, "crop"], { masked: true, well })), "crop.png");
    const headers = { Accept: "image/png" };
    const heat = await fetchBlob(pathOf(["explain"], { shape }), { method: "POST", body: form, headers });
    return URL.createObjectURL(heat);
  });
  useEffect(() => () => void (data && URL.revokeObjectURL(data)), [data]);
  if (error) return <span class="no-picture">{error.message}</span>;
  return (
    <figure>
      {data ? (
        <img src={data} alt={`Heat map of the evidence for ${nameOf(shape)}`} />
      ) : (
        <span class="no-picture" aria-busy="true" />
      )}
      <figcaption>evidence for {nameOf(shape)}</figcaption>
    </figure>
  );
}

function mostSimilar(crystal: Crystal, crystals: Crystal[], shapes: string[]): Crystal[] {
  const features = (of: Crystal) => [
    ...shapes.map((shape) => Number((of as Record<string, unknown>)[`p_${shape}`] ?? 0)),
    0.3 * Math.log(of.area_px || 1),
  ];
  const own = features(crystal);
  const distance = (of: Crystal) =>
    features(of).reduce((sum, value, i) => sum + (value - own[i]!) ** 2, 0);
  return crystals
    .filter(({ crystal_id }) => crystal_id !== crystal.crystal_id)
    .map((other) => ({ other, away: distance(other) }))
    .sort((a, b) => a.away - b.away)
    .slice(0, MOST_SIMILAR)
    .map(({ other }) => other);
}
