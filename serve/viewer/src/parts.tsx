// Parts that several views share.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { EndpointError } from "./api";
import { usePicture } from "./hooks";
import { colourOf, nameOf } from "./shapes";

/** A message in place of what could not be shown. */
export function Trouble({ error, retry }: { error: Error; retry?: () => void }) {
  const status = error instanceof EndpointError ? error.status : -1;
  const advice =
    status === 403
      ? "Sign in with a token that has this scope."
      : status === 404
        ? "It may have been removed, or the address may be mistyped."
        : "";
  return (
    <div class="trouble" role="alert">
      <p>{error.message}</p>
      {advice && <p>{advice}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Waiting({ what }: { what: string }) {
  return (
    <p class="waiting" role="status">
      Loading {what} …
    </p>
  );
}

export function Nothing({ children }: { children: ComponentChildren }) {
  return <div class="nothing">{children}</div>;
}

export function Swatch({ shape, shapes }: { shape: string; shapes: string[] }) {
  return (
    <svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">
      <rect width="12" height="12" rx="2" fill={colourOf(shape, shapes)} />
    </svg>
  );
}

export function ShapeName({ shape, shapes }: { shape: string; shapes: string[] }) {
  return (
    <span class="shape">
      <Swatch shape={shape} shapes={shapes} /> {nameOf(shape)}
    </span>
  );
}

/** A picture of the endpoint, fetched with the token. */
export function Picture(props: { path: string; alt: string; class?: string }) {
  const { url, error } = usePicture(props.path);
  if (error) return <span class={`no-picture ${props.class ?? ""}`}>{error.message}</span>;
  if (!url) return <span class={`no-picture ${props.class ?? ""}`} aria-busy="true" />;
  return <img src={url} alt={props.alt} class={props.class} draggable={false} />;
}

/** Shapes with how many crystals have each, and a box that shows or hides them. */
export function ShapeToggles(props: {
  shapes: string[];
  /** The shape of every crystal. */
  of: { shape: string }[];
  hidden: string[];
  onHide: (hidden: string[]) => void;
}) {
  const { shapes, hidden } = props;
  const counts = new Map<string, number>();
  for (const { shape } of props.of) counts.set(shape, (counts.get(shape) ?? 0) + 1);
  return (
    <fieldset class="shapes">
      <legend>Shapes</legend>
      {shapes.map((shape) => (
        <label key={shape}>
          <input
            type="checkbox"
            checked={!hidden.includes(shape)}
            onChange={(event) => {
              const others = hidden.filter((each) => each !== shape);
              props.onHide(event.currentTarget.checked ? others : [...others, shape]);
            }}
          />
          <ShapeName shape={shape} shapes={shapes} /> <span>{number(counts.get(shape) ?? 0)}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Two sliders for the lower and the upper end of a range. */
export function RangeSlider(props: {
  label: string;
  unit: string;
  least: number;
  most: number;
  step: number;
  low: number | null;
  high: number | null;
  onChange: (low: number | null, high: number | null) => void;
}) {
  const { least, most, step } = props;
  const low = props.low ?? least;
  const high = props.high ?? most;
  const slider = (value: number, name: string, change: (value: number) => void) => (
    <input
      type="range"
      aria-label={`${props.label}, ${name}`}
      min={least}
      max={most}
      step={step}
      value={value}
      onInput={(event) => change(Number(event.currentTarget.value))}
    />
  );
  const open = (value: number, end: number) => (value === end ? null : value);
  return (
    <fieldset class="range">
      <legend>
        {props.label}: {number(low)} to {number(high)} {props.unit}
      </legend>
      {slider(low, "least", (value) => props.onChange(open(Math.min(value, high), least), props.high))}
      {slider(high, "most", (value) => props.onChange(props.low, open(Math.max(value, low), most)))}
    </fieldset>
  );
}

export function number(value: number | null | undefined, digits = 2): string {
  if (value === null || value === undefined || !isFinite(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** A depth in metres as logs write it. */
export function metres(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : String(Number(value.toFixed(2)));
}

export function percent(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`;
}

export function save(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button whose work takes a while, and which says what went wrong. */
export function Action(props: { work: () => Promise<void>; children: ComponentChildren }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const run = () => {
    setBusy(true);
    setError(null);
    props.work().then(
      () => setBusy(false),
      (reason: Error) => {
        setBusy(false);
        setError(reason);
      },
    );
  };
  return (
    <>
      <button type="button" onClick={run} disabled={busy}>
        {props.children}
      </button>
      {error && (
        <span class="inline-trouble" role="alert">
          {error.message}
        </span>
      )}
    </>
  );
}
