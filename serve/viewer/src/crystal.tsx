// What is known about the chosen crystals, and the buttons that correct them.
import type { components } from "../build/api";
import { fetchJson, pathOf, type Crystal } from "./api";
import { columnOf, describe, timeOf, type Correction, type Operation } from "./corrections";
import { useData } from "./hooks";
import { Picture, ShapeName, Trouble, Waiting, number, percent } from "./parts";
import { colourOf, nameOf } from "./shapes";
import { useState } from "preact/hooks";

type Schemas = components["schemas"];

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
function Evidence(props: { crystal: Crystal; shapes: string[]; onFocus: (crystal: Crystal) => void }) {
  const { crystal, shapes } = props;
  const [open, setOpen] = useState(false);
  const shape = shapes.includes(crystal.shape!) ? crystal.shape! : shapes[0]!;
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Evidence and similar crystals</summary>
      {open && (
        <>
          <div class="evidence">
            <figure>
              <Picture path={cropOf(crystal, 128)} alt="The crystal" />
              <figcaption>the crystal</figcaption>
            </figure>
            <figure>
              <Picture
                path={pathOf(["crystals", crystal.crystal_id!, "heat"], { shape, well: crystal.well })}
                alt={`Heat map of the evidence for ${nameOf(shape)}`}
              />
              <figcaption>evidence for {nameOf(shape)}</figcaption>
            </figure>
          </div>
          <Similar crystal={crystal} onFocus={props.onFocus} />
        </>
      )}
    </details>
  );
}

function Similar({ crystal, onFocus }: { crystal: Crystal; onFocus: (crystal: Crystal) => void }) {
  const id = crystal.crystal_id!;
  const { data, error, reload } = useData(id, () => {
    const query = { limit: MOST_SIMILAR, well: crystal.well, corrected: true };
    return fetchJson<Schemas["SimilarCrystals"]>(pathOf(["crystals", id, "similar"], query));
  });
  if (error) return <Trouble error={error} retry={reload} />;
  if (!data) return <Waiting what="similar crystals" />;
  if (!data.crystals.length) return <p class="hint">There is no other crystal in this tile.</p>;
  return (
    <>
      <p class="hint">The crystals of this tile that look most alike to the classifier:</p>
      <ul class="similar" aria-label="Similar crystals">
        {data.crystals.map((other) => (
          <li key={other.crystal_id}>
            <button
              type="button"
              title={`similarity ${percent(other.similarity)}`}
              onClick={() => onFocus(other)}
            >
              <Picture path={cropOf(other, 72)} alt="" />
              <span>{nameOf(other.shape!)}</span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

function cropOf(crystal: Crystal, size: number): string {
  return pathOf(["crystals", crystal.crystal_id!, "crop"], { size, well: crystal.well });
}
