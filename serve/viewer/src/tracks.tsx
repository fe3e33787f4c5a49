// The tracks of a depth log, drawn in SVG with the depth downwards.
import { scaleLinear, type ScaleLinear } from "d3-scale";
import { area, line } from "d3-shape";
import {
  areaOf,
  sizeOf,
  spreadName,
  type Interval,
  type LoggedWell,
  type Measure,
  type Named,
} from "./depth_log";
import { colourOf, nameOf } from "./shapes";

export interface Frame {
  /** Depth in metres, or metres below the top that the wells are flattened on, to pixels. */
  y: ScaleLinear<number, number>;
  height: number;
  head: number;
}

interface TrackProps {
  log: LoggedWell;
  frame: Frame;
  offset: number;
  left: number;
  width: number;
}

function edges({ frame, offset }: TrackProps, interval: Pick<Interval, "depth_top" | "depth_base">): [number, number] {
  return [frame.y(interval.depth_top - offset), frame.y(interval.depth_base - offset)];
}

function visible(props: TrackProps): Interval[] {
  const { frame, log } = props;
  return log.intervals.filter((interval) => {
    const [top, base] = edges(props, interval);
    return base >= frame.head && top <= frame.head + frame.height;
  });
}

function Heading({ left, width, frame, title, low, high }: {
  left: number; width: number; frame: Frame; title: string; low: string; high: string;
}) {
  return (
    <g class="heading">
      <text x={left + width / 2} y={frame.head - 22} text-anchor="middle">{title}</text>
      <text x={left} y={frame.head - 6} class="small">{low}</text>
      <text x={left + width} y={frame.head - 6} text-anchor="end" class="small">{high}</text>
      <rect x={left} y={frame.head} width={width} height={frame.height} class="track" />
    </g>
  );
}

export function ShapeTrack(props: TrackProps) {
  const { log, frame, left, width } = props;
  const x = scaleLinear([0, 1], [left, left + width]);
  return (
    <g>
      <Heading {...{ left, width, frame }} title="Shapes" low="0" high="100 %" />
      <g clip-path="url(#plot)">
        {visible(props).map((interval) => {
          const [top, base] = edges(props, interval);
          let sum = 0;
          return log.shapes.map((shape) => {
            const fraction = interval[`fraction_${shape}`];
            if (typeof fraction !== "number" || fraction <= 0) return null;
            const start = sum;
            sum += fraction;
            return (
              <rect
                key={`${interval.depth_top} ${shape}`}
                x={x(start)}
                y={top}
                width={Math.max(0, x(sum) - x(start))}
                height={Math.max(1, base - top)}
                fill={colourOf(shape, log.shapes)}
                class="bar"
              />
            );
          });
        })}
      </g>
    </g>
  );
}

function MeasureTrack(props: TrackProps & {
  title: string; unit: string; of: (interval: Interval) => Measure; most: number; percent?: boolean;
}) {
  const { frame, left, width } = props;
  const x = scaleLinear([0, props.most], [left, left + width]).clamp(true);
  const points = visible(props).map((interval) => {
    const [top, base] = edges(props, interval);
    return { y: (top + base) / 2, ...props.of(interval) };
  });
  type Point = (typeof points)[number];
  const spread = area<Point>()
    .defined((point) => point.spread !== null)
    .y((point) => point.y)
    .x0((point) => x(point.spread![0]))
    .x1((point) => x(point.spread![1]));
  const middle = line<Point>()
    .defined((point) => point.middle !== null)
    .y((point) => point.y)
    .x((point) => x(point.middle!));
  const high = props.percent ? `${Math.round(100 * props.most)} %` : `${props.most} ${props.unit}`;
  return (
    <g>
      <Heading {...{ left, width, frame }} title={props.title} low="0" high={high} />
      <g clip-path="url(#plot)">
        <path d={spread(points) ?? ""} class="spread" />
        <path d={middle(points) ?? ""} class="middle" />
        {points.map((point) =>
          point.confidence === null ? null : (
            <line
              key={`c${point.y}`}
              x1={x(point.confidence[0])}
              x2={x(point.confidence[1])}
              y1={point.y}
              y2={point.y}
              class="confidence"
            />
          ),
        )}
        {points.length <= 120 &&
          points.map((point) =>
            point.middle === null ? null : (
              <circle key={point.y} cx={x(point.middle)} cy={point.y} r="2" class="point" />
            ),
          )}
      </g>
    </g>
  );
}

export function SizeTrack(props: TrackProps & { most: number }) {
  const title = `Size, ${spreadName(props.log.intervals)}`;
  return <MeasureTrack {...props} title={title} unit="µm" of={sizeOf} />;
}

export function AreaTrack(props: TrackProps & { most: number }) {
  return <MeasureTrack {...props} title="Crystal area" unit="" of={areaOf} percent />;
}

const TEXTURE_FILLS = ["#7a869a", "#c2a878", "#8fae9b", "#b98fa6", "#9fa3d1", "#c9c46f"];

const LETTER = 5.6;

function shortened(text: string, letters: number): string {
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}

/** Textures as coloured intervals; paler, the less sure. Zones are numbered lines, dashed if doubtful. */
export function NamedTrack(props: TrackProps & { named: Named; scheme: string }) {
  const { frame, left, width, named, scheme } = props;
  const shown = named.textures.filter((each) => each.scheme === scheme);
  const names = [...new Set(shown.map(({ texture }) => texture))];
  return (
    <g class="named">
      <Heading {...{ left, width, frame }} title="Texture" low="" high="zone" />
      <g clip-path="url(#plot)">
        {shown.map((each, index) => {
          const [top, base] = edges(props, each);
          const starts = shown[index - 1]?.texture !== each.texture;
          return (
            <g key={each.depth_top}>
              <rect
                x={left}
                y={top}
                width={width}
                height={Math.max(1, base - top)}
                fill={TEXTURE_FILLS[names.indexOf(each.texture) % TEXTURE_FILLS.length]}
                fill-opacity={0.35 + 0.65 * (each.probability ?? 0.5)}
                class="texture-bar"
              />
              {starts && (
                <text x={left + 4} y={Math.max(top, frame.head) + 11} class="small texture">
                  {shortened(nameOf(each.texture), (width - 24) / LETTER)}
                </text>
              )}
            </g>
          );
        })}
        {named.zones.map(({ zone, depth_top, depth_base, support }) => {
          const [top, base] = edges(props, { depth_top, depth_base });
          return (
            <g key={zone} class={`zone ${support !== null && support < 0.5 ? "doubtful" : ""}`}>
              {zone > 1 && <line x1={left} x2={left + width} y1={top} y2={top} />}
              <text x={left + width - 4} y={(top + base) / 2 + 4} text-anchor="end" class="small texture">
                {zone}
              </text>
            </g>
          );
        })}
      </g>
    </g>
  );
}

const KEY_ROW = 20;
const KEY_SQUARE = 11;

/** Where each shape's name stands in the key of the colours, pixels from its top left. */
export function keyPlaces(shapes: string[], width: number): { shape: string; x: number; y: number }[] {
  let [x, y] = [0, 0];
  return shapes.map((shape) => {
    const long = KEY_SQUARE + 6 + nameOf(shape).length * 7 + 14;
    if (x > 0 && x + long > width) [x, y] = [0, y + KEY_ROW];
    const place = { shape, x, y };
    x += long;
    return place;
  });
}

export function keyHeight(shapes: string[], width: number): number {
  return KEY_ROW + Math.max(0, ...keyPlaces(shapes, width).map(({ y }) => y));
}

/** The shapes' colours; a part of the drawing, so that a saved one has them. */
export function ShapeKey(props: { shapes: string[]; left: number; top: number; width: number }) {
  const { shapes, left, top, width } = props;
  return (
    <g class="key">
      {keyPlaces(shapes, width).map(({ shape, x, y }) => (
        <g key={shape}>
          <rect
            x={left + x}
            y={top + y + 3}
            width={KEY_SQUARE}
            height={KEY_SQUARE}
            fill={colourOf(shape, shapes)}
          />
          <text x={left + x + KEY_SQUARE + 6} y={top + y + 13}>{nameOf(shape)}</text>
        </g>
      ))}
    </g>
  );
}

export function DepthAxis(props: { frame: Frame; left: number; width: number; title: string }) {
  const { frame, left, width } = props;
  return (
    <g class="axis">
      <text x={left - 6} y={frame.head - 22} text-anchor="end">{props.title}</text>
      {frame.y.ticks(12).map((tick) => (
        <g key={tick}>
          <line x1={left} x2={left + width} y1={frame.y(tick)} y2={frame.y(tick)} />
          <text x={left - 6} y={frame.y(tick) + 4} text-anchor="end">
            {tick.toLocaleString("en", { useGrouping: false, maximumFractionDigits: 3 })}
          </text>
        </g>
      ))}
    </g>
  );
}

export function Tops(props: { log: LoggedWell; frame: Frame; offset: number; left: number; width: number }) {
  const { log, frame, offset, left, width } = props;
  return (
    <g clip-path="url(#plot)" class="tops">
      {log.tops.map((top) => {
        const y = frame.y(top.depth_m - offset);
        return (
          <g key={`${top.formation} ${top.depth_m}`}>
            <line x1={left} x2={left + width} y1={y} y2={y} />
            <text x={left + width - 3} y={y - 3} text-anchor="end">{top.formation}</text>
          </g>
        );
      })}
    </g>
  );
}

export function widestSize(logs: LoggedWell[]): number {
  const values = logs.flatMap(({ intervals }) =>
    intervals.map((each) => {
      const { middle, spread } = sizeOf(each);
      return spread?.[1] ?? middle ?? 0;
    }),
  );
  return niceMost(Math.max(0, ...values) || 1);
}

export function widestArea(logs: LoggedWell[]): number {
  const values = logs.flatMap(({ intervals }) => intervals.map((each) => areaOf(each).middle ?? 0));
  return Math.min(1, niceMost(Math.max(0, ...values) || 1));
}

function niceMost(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return Number(([1, 2, 3, 5, 10].find((factor) => factor * power >= value)! * power).toPrecision(3));
}
