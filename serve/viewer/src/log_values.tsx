// The numbers of a depth log: under the pointer, and as a table.
import { useState } from "preact/hooks";
import {
  areaOf,
  sizeOf,
  spreadName,
  type Interval,
  type LoggedWell,
  type Measure,
  type Texture,
  type Zone,
} from "./depth_log";
import { ShapeName, metres, number, percent } from "./parts";
import { addressOf } from "./route";
import { nameOf } from "./shapes";

/** The values under the pointer. */
export function Values(props: {
  log: LoggedWell; interval: Interval | null; depth: number; right: boolean;
  texture: Texture | null; zone: Zone | null;
}) {
  const { log, interval, texture, zone } = props;
  return (
    <div class={`values ${props.right ? "at-right" : ""}`}>
      <strong>
        {log.well}, {props.depth.toFixed(2)} m
      </strong>
      {interval === null || !interval.n_tiles ? (
        <p>No tile here.</p>
      ) : (
        <dl>
          <dt>Interval</dt>
          <dd>{metres(interval.depth_top)} – {metres(interval.depth_base)} m</dd>
          <dt>Tiles, crystals</dt>
          <dd>{number(interval.n_tiles as number)}, {number(interval.n_crystals as number)}</dd>
          {log.shapes.map((shape) => (
            <Row key={shape} name={<ShapeName shape={shape} shapes={log.shapes} />} value={bounded(interval, `fraction_${shape}`)} />
          ))}
          <Row name="Median size" value={measure(sizeOf(interval), "µm", number)} />
          {sizeOf(interval).spread && (
            <Row name={spreadName(log.intervals)} value={sizeOf(interval).spread!.map((each) => number(each)).join(" – ") + " µm"} />
          )}
          <Row name="Crystal area" value={measure(areaOf(interval), "", percent)} />
          {texture && (
            <Row name="Texture" value={`${nameOf(texture.texture)} (${texture.probability === null ? "too few tiles" : percent(texture.probability)})`} />
          )}
          {zone && <Row name="Zone" value={String(zone.zone)} />}
        </dl>
      )}
    </div>
  );
}

function Row({ name, value }: { name: preact.ComponentChildren; value: string }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}

function bounded(interval: Interval, name: string): string {
  const [low, high] = [interval[`low_${name}`], interval[`high_${name}`]];
  const value = percent(interval[name] as number | null);
  if (typeof low !== "number" || typeof high !== "number") return value;
  return `${value} (${percent(low)} – ${percent(high)})`;
}

function measure(value: Measure, unit: string, write: (value: number | null) => string): string {
  const middle = `${write(value.middle)} ${unit}`.trim();
  if (!value.confidence) return middle;
  return `${middle} (${value.confidence.map(write).join(" – ")})`;
}

/** The same numbers as a table, for those who cannot see the drawing. */
export function LogTable({ logs }: { logs: LoggedWell[] }) {
  const [open, setOpen] = useState(false);
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Table of the log</summary>
      {open &&
        logs.map((log) => (
          <div class="scrolled" key={log.well} tabIndex={0} role="region" aria-label={`Log of ${log.well}`}>
            <table>
              <caption>{log.well}</caption>
              <thead>
                <tr>
                  <th scope="col">Depth, m</th>
                  <th scope="col">Crystals</th>
                  {log.shapes.map((shape) => (
                    <th scope="col" key={shape}>{shape.replaceAll("_", " ")}</th>
                  ))}
                  <th scope="col">Median, µm</th>
                  <th scope="col">Area</th>
                </tr>
              </thead>
              <tbody>
                {log.intervals.filter((each) => each.n_tiles).map((each) => (
                  <tr key={each.depth_top}>
                    <th scope="row">
                      <a href={addressOf("log", { well: logs.map(({ well }) => well), at: `${log.well}@${each.depth_top}:${each.depth_base}` })}>
                        {metres(each.depth_top)} – {metres(each.depth_base)}
                      </a>
                    </th>
                    <td>{number(each.n_crystals as number)}</td>
                    {log.shapes.map((shape) => (
                      <td key={shape}>{percent(each[`fraction_${shape}`] as number | null)}</td>
                    ))}
                    <td>{number(sizeOf(each).middle)}</td>
                    <td>{percent(areaOf(each).middle)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        ))}
    </details>
  );
}
