// The state of the page is its address: a view and parameters, behind the #, which no server sees.
import { useEffect, useState } from "preact/hooks";

export type Parameters = Record<string, string | string[] | number | null | undefined>;

export interface Route {
  view: string;
  query: URLSearchParams;
}

/** Takes a token out of the address, so that it is neither shown nor stored in the history. */
export function takeToken(): string | null {
  const fragment = new URLSearchParams(location.hash.replace(/^#\/?/, ""));
  const token = fragment.get("token");
  if (token !== null) history.replaceState(null, "", `${location.pathname}#/`);
  return token;
}

export function currentRoute(): Route {
  const [view = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: view || "wells", query: new URLSearchParams(search) };
}

export function addressOf(view: string, parameters: Parameters = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (Array.isArray(value)) for (const each of value) search.append(name, each);
    else if (value !== undefined && value !== null && value !== "") search.set(name, String(value));
  }
  return `#/${view}${search.size ? `?${search}` : ""}`;
}

export function go(view: string, parameters: Parameters = {}): void {
  location.hash = addressOf(view, parameters);
}

/** Change some parameters of this view, without a new entry in the history. */
export function refine(changes: Parameters): void {
  const { view, query } = currentRoute();
  const parameters: Parameters = {};
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name);
    parameters[name] = values.length > 1 ? values : values[0];
  }
  history.replaceState(null, "", addressOf(view, { ...parameters, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const change = () => setRoute(currentRoute());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return route;
}

/** A range such as 1200:1250, either end of which may be open. */
export function readRange(text: string | null): [number | null, number | null] {
  const [low = "", high = ""] = (text ?? "").split(":", 2);
  const read = (end: string) => (end.trim() === "" || !isFinite(Number(end)) ? null : Number(end));
  const [first, second] = [read(low), read(high)];
  return first !== null && second !== null && first > second ? [second, first] : [first, second];
}

const FARTHEST_M = 1e5;

/** Why a range of depths cannot be drawn; null if it can. */
export function faultOfDepths(text: string | null): string | null {
  if (!text) return null;
  const ends = text.split(":");
  const values = ends.map((end) => (end.trim() === "" ? null : Number(end)));
  if (ends.length !== 2 || values.some((value) => value !== null && !(Math.abs(value) <= FARTHEST_M)))
    return `depth ${text}: not a range in metres; write it as 1200:1250`;
  const [low, high] = values as [number | null, number | null];
  if (low !== null && high !== null && low >= high)
    return `depth ${text}: reversed or empty; write the smaller depth first`;
  return null;
}

export function writeRange(low: number | null, high: number | null): string | null {
  return low === null && high === null ? null : `${low ?? ""}:${high ?? ""}`;
}
