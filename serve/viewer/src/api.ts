// The endpoint: a client typed by its OpenAPI document, the token, and errors as one line of text.
import createClient from "openapi-fetch";
import type { components, paths } from "../build/api";

type Schemas = components["schemas"];
export type Crystal = Schemas["CrystalRow"];
export type Tile = Schemas["TileRow"];
export type Well = Schemas["Well"];
export type Models = Schemas["Models"];
export type Evaluation = Schemas["Evaluation"];
export type ClassifierMetrics = Schemas["ClassifierMetrics"];
export type SegmenterMetrics = Schemas["SegmenterMetrics"];

const STORED = "mcn.token";

/** What the endpoint, or the way to it, refused; `message` is one line to show as text. */
export class EndpointError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let token = sessionStorage.getItem(STORED) ?? "";
let onSignedOut: (reason: string) => void = () => {};

export function isSignedIn(): boolean {
  return token !== "";
}

/** Keep a token in memory and for this browser tab; nowhere else. */
export function signIn(presented: string): void {
  token = presented.trim();
  sessionStorage.setItem(STORED, token);
}

export function signOut(reason = ""): void {
  token = "";
  sessionStorage.removeItem(STORED);
  onSignedOut(reason);
}

export function whenSignedOut(listener: (reason: string) => void): void {
  onSignedOut = listener;
}

export function authorization(): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export const endpoint = createClient<paths, "application/json">({
  baseUrl: location.origin,
  querySerializer: { array: { style: "form", explode: true } },
});
endpoint.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(authorization())) request.headers.set(name, value);
    return request;
  },
});

/** The data of an answer of `endpoint`; throws an `EndpointError` for every other outcome. */
export async function ask<T>(
  answer: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  let settled;
  try {
    settled = await answer;
  } catch (error) {
    throw unreachable(error);
  }
  const { data, error, response } = settled;
  if (!response.ok) throw refusal(response.status, error);
  return data as T;
}

/** Fetch a path that gives a file; the token travels in a header, never in an address. */
export async function fetchBlob(path: string, options: RequestInit = {}): Promise<Blob> {
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers: { ...authorization(), ...(options.headers as Record<string, string>) },
    });
  } catch (error) {
    throw unreachable(error);
  }
  if (!response.ok) throw refusal(response.status, await response.json().catch(() => null));
  return response.blob();
}

/** Fetch a path that gives JSON. */
export async function fetchJson<T>(path: string, options: RequestInit = {}): Promise<T> {
  const blob = await fetchBlob(path, options);
  return JSON.parse(await blob.text()) as T;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  return fetchJson<T>(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

function unreachable(error: unknown): Error {
  if (error instanceof DOMException && error.name === "AbortError") return error;
  return new EndpointError(0, "The endpoint does not answer. Check that it runs, then try again.");
}

function refusal(status: number, problem: unknown): EndpointError {
  const { detail, title } = (problem ?? {}) as { detail?: unknown; title?: unknown };
  const said = typeof detail === "string" ? detail : typeof title === "string" ? title : "";
  const error = new EndpointError(status, said || `The endpoint answered with status ${status}.`);
  if (status === 401) signOut(error.message);
  return error;
}

const pictures = new Map<string, Promise<string>>();
const MOST_PICTURES = 400;

/** The address of a picture inside this page, fetched once. */
export function pictureUrl(path: string): Promise<string> {
  let url = pictures.get(path);
  if (url === undefined) {
    url = fetchBlob(path, { headers: { Accept: "image/*" } }).then((blob) => URL.createObjectURL(blob));
    url.catch(() => pictures.delete(path));
    pictures.set(path, url);
    for (const [oldest, old] of pictures) {
      if (pictures.size <= MOST_PICTURES) break;
      pictures.delete(oldest);
      void old.then(URL.revokeObjectURL, () => {});
    }
  }
  return url;
}

/** A path of the endpoint with a query; undefined and null values are left out. */
export function pathOf(
  parts: string[],
  query: Record<string, string | number | boolean | string[] | null | undefined> = {},
): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const each of value) search.append(name, each);
    else if (value !== undefined && value !== null) search.set(name, String(value));
  }
  const path = `/v1/${parts.map(encodeURIComponent).join("/")}`;
  return search.size ? `${path}?${search}` : path;
}
