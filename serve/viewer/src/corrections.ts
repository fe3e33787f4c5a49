// Corrections of crystals: saving, undoing, and what others did meanwhile.
import { ask, endpoint, post, type Crystal } from "./api";
import { useData, type Loaded } from "./hooks";

export type Operation = "shape" | "delete" | "redraw" | "merge" | "split" | "add";

export interface Correction {
  correction_id: string;
  change_id: string;
  operation: string;
  crystal_id: string;
  tile_id: string;
  well: string;
  depth_m: number;
  shape: string | null;
  was_shape: string | null;
  was_confidence: number | null;
  classifier: string | null;
  corrected_by: string;
  corrected_at: string;
  note: string | null;
  in_effect: boolean;
}

export interface Change {
  change_id: string;
  corrections: Correction[];
  crystals: Crystal[];
  removed: string[];
  superseded: Correction[];
}

export interface Session {
  name: string;
  scopes: string[];
}

/** A column that rows of corrected answers have. */
export function columnOf(crystal: Crystal, name: string): string | null {
  const value = (crystal as Record<string, unknown>)[name];
  return typeof value === "string" ? value : null;
}

export function useSession(): Loaded<Session> {
  return useData("session", () => ask(endpoint.GET("/v1/session")));
}

// Changes of this page, the last one first to be undone.
const undoable: { changeId: string; tileId: string }[] = [];
// Corrections by this page that the rows it loaded do not have yet, by crystal.
const own = new Map<string, string | null>();
// One after the other, so that each knows those before it.
let last: Promise<unknown> = Promise.resolve();

function inTurn(send: () => Promise<Change>): Promise<Change> {
  const turn = last
    .catch(() => {})
    .then(send)
    .then((change) => {
      for (const crystal of change.crystals) own.set(crystal.crystal_id!, columnOf(crystal, "correction_id"));
      return change;
    });
  last = turn;
  return turn;
}

/** Rows that came from the endpoint just now know all corrections. */
export function noteLoaded(crystals: Crystal[]): void {
  for (const { crystal_id } of crystals) own.delete(crystal_id!);
}

function seen(crystal: Crystal): string | null | undefined {
  const id = crystal.crystal_id!;
  return own.has(id) ? own.get(id) : columnOf(crystal, "correction_id");
}

export async function correct(
  action: Operation,
  place: { tile_id: string; well: string },
  crystals: Crystal[],
  more: { shape?: string; masks?: unknown[]; note?: string } = {},
): Promise<Change> {
  const change = await inTurn(() =>
    post<Change>("/v1/corrections", {
      action,
      ...place,
      crystals: crystals.map((crystal) => ({
        crystal_id: crystal.crystal_id,
        seen: seen(crystal),
      })),
      ...more,
    }),
  );
  undoable.push({ changeId: change.change_id, tileId: place.tile_id });
  return change;
}

/** The last change of this page in a tile; undefined if there is none. */
export function lastChange(tileId: string): string | undefined {
  return undoable.findLast((change) => change.tileId === tileId)?.changeId;
}

export async function undo(changeId: string): Promise<Change> {
  const change = await inTurn(() =>
    post<Change>(`/v1/corrections/${encodeURIComponent(changeId)}/undo`, {}),
  );
  const place = undoable.findIndex((each) => each.changeId === changeId);
  if (place >= 0) undoable.splice(place, 1);
  return change;
}

/** The crystals of a tile after a change, which may have been of another tile. */
export function changed(crystals: Crystal[], change: Change, tileId: string): Crystal[] {
  const gone = new Set(change.removed);
  const here = change.crystals.filter(({ tile_id }) => tile_id === tileId);
  const now = new Map(here.map((crystal) => [crystal.crystal_id, crystal]));
  const kept = crystals
    .filter((crystal) => !gone.has(crystal.crystal_id!))
    .map((crystal) => now.get(crystal.crystal_id) ?? crystal);
  const known = new Set(kept.map((crystal) => crystal.crystal_id));
  return [...kept, ...here.filter((crystal) => !known.has(crystal.crystal_id))];
}

/** What somebody else had made of the same crystals meanwhile; empty if nothing. */
export function conflictOf(change: Change): string {
  return change.superseded
    .map(
      ({ corrected_by, operation, shape, corrected_at }) =>
        `${corrected_by} also corrected this crystal (${describe(operation, shape)}, ` +
        `${timeOf(corrected_at)}). Both corrections are kept; yours is later and counts.`,
    )
    .join(" ");
}

export function describe(operation: string, shape: string | null): string {
  return operation === "shape" && shape ? `named ${shape.replaceAll("_", " ")}` : operation;
}

export function timeOf(time: string): string {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
