// A depth log as the endpoint gives it, and what its columns mean.
import type { components } from "../build/api";
import { ask, endpoint, fetchBlob, pathOf } from "./api";

export type Value = number | string | null;
export type Interval = { depth_top: number; depth_base: number } & Record<string, Value>;

export interface Top {
  formation: string;
  depth_m: number;
}

export type Texture = components["schemas"]["NamedTexture"];
export type Zone = components["schemas"]["LogZone"];

/** What is named beside a log: textures by a scheme, and zones. */
export interface Named {
  well: string;
  textures: Texture[];
  zones: Zone[];
}

export interface LoggedWell {
  well: string;
  intervals: Interval[];
  shapes: string[];
  tops: Top[];
}

const FACETS = "euhedral_to_subhedral";

export async function loadLog(well: string, step: number | null): Promise<LoggedWell> {
  const about = ask(endpoint.GET("/v1/wells/{well}", { params: { path: { well } } }));
  const log = ask(
    endpoint.GET("/v1/wells/{well}/log", {
      params: { path: { well }, query: { step, corrected: true } },
      headers: { Accept: "application/json" },
    }),
  );
  const [intervals, { tops }] = await Promise.all([log, about]);
  return { well, intervals: intervals as Interval[], shapes: shapesOf(intervals as Interval[]), tops: (tops ?? []) as unknown as Top[] };
}

/** Textures and zones of a whole well; both come after the log, since they take longer. */
export async function loadNamed(well: string): Promise<Named> {
  const path = { well };
  const [{ textures }, zones] = await Promise.all([
    ask(
      endpoint.GET("/v1/wells/{well}/textures", { params: { path, query: { corrected: true } } }),
    ),
    ask(
      endpoint.GET("/v1/wells/{well}/log", {
        params: { path, query: { zones: true, corrected: true } },
        headers: { Accept: "application/json" },
      }),
    ),
  ]);
  return { well, textures, zones: zones as Zone[] };
}

/** A log as a file; `accept` is the media type of CSV, LAS or a picture. */
export function logFile(well: string, step: number | null, accept: string): Promise<Blob> {
  const path = pathOf(["wells", well, "log"], { step, corrected: true });
  return fetchBlob(path, { headers: { Accept: accept } });
}

export function shapesOf(intervals: Interval[]): string[] {
  return Object.keys(intervals[0] ?? {})
    .filter((name) => name.startsWith("fraction_"))
    .map((name) => name.slice("fraction_".length))
    .filter((shape) => shape !== FACETS);
}

function valueOf(interval: Interval, name: string): number | null {
  const value = interval[name];
  return typeof value === "number" ? value : null;
}

/** Values of a measure with the band of its spread and the interval of its estimate. */
export interface Measure {
  middle: number | null;
  spread: [number, number] | null;
  confidence: [number, number] | null;
}

function pair(low: number | null, high: number | null): [number, number] | null {
  return low === null || high === null ? null : [low, high];
}

const D = "equivalent_diameter_um";

function confidenceOf(interval: Interval, name: string): [number, number] | null {
  return pair(valueOf(interval, `low_${name}`), valueOf(interval, `high_${name}`));
}

export function sizeOf(interval: Interval): Measure {
  const quantiles = (low: number, high: number) =>
    pair(valueOf(interval, `q${low}_${D}`), valueOf(interval, `q${high}_${D}`));
  return {
    middle: valueOf(interval, `median_${D}`),
    spread: quantiles(10, 90) ?? quantiles(25, 75),
    confidence: confidenceOf(interval, `median_${D}`),
  };
}

export function areaOf(interval: Interval): Measure {
  const name = "crystal_area_fraction";
  return { middle: valueOf(interval, name), spread: null, confidence: confidenceOf(interval, name) };
}

/** Whether the band of sizes reaches from P10 to P90, or from P25 to P75 in an older answer. */
export function spreadName(intervals: Interval[]): string {
  return `q10_${D}` in (intervals[0] ?? {}) ? "P10–P90" : "P25–P75";
}

/** The texture at a depth by a scheme. */
export function textureAt(named: Named | undefined, scheme: string, depth: number): Texture | null {
  const found = named?.textures.find(
    (each) => each.scheme === scheme && each.depth_top <= depth && depth < each.depth_base,
  );
  return found ?? null;
}

/** The zone at a depth. */
export function zoneAt(named: Named | undefined, depth: number): Zone | null {
  return named?.zones.find((each) => each.depth_top <= depth && depth < each.depth_base) ?? null;
}

/** The interval at a depth; its top belongs to it, its base to the next. */
export function intervalAt(intervals: Interval[], depth: number): Interval | null {
  return intervals.find((each) => each.depth_top <= depth && depth < each.depth_base) ?? null;
}
