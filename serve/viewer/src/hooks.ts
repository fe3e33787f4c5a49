// Data that a view waits for, and keys that it listens to.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { pictureUrl } from "./api";

export interface Loaded<T> {
  /** Null until they have come. */
  data: T | null;
  /** The data of another key while those of this one load, for drawings that only zoom. */
  older: T | null;
  error: Error | null;
  loading: boolean;
  reload: () => void;
}

/** Load data, again whenever `key` changes; null waits. */
export function useData<T>(key: string | null, load: () => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ key: string | null; data: T | null; error: Error | null }>({
    key: null,
    data: null,
    error: null,
  });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (key === null) return;
    let current = true;
    load().then(
      (data) => current && setState({ key, data, error: null }),
      (error: Error) => current && setState({ key, data: null, error }),
    );
    return () => {
      current = false;
    };
  }, [key, attempt]);
  const reload = useCallback(() => setAttempt((count) => count + 1), []);
  const fresh = key !== null && state.key === key;
  return {
    data: fresh ? state.data : null,
    older: state.data,
    error: fresh ? state.error : null,
    loading: key !== null && !fresh,
    reload,
  };
}

export type Keys = Record<string, (event: KeyboardEvent) => void>;

/** Run actions on keys, unless a person is typing or another control takes the key. */
export function useKeys(keys: Keys): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const on = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (on.matches("input:not([type=checkbox]):not([type=range]), textarea, select")) return;
      if (event.key === "Enter" && on.matches("button, a, summary")) return;
      // A key that is held repeats movements, and no correction.
      if (event.repeat && /^(\w|Enter|Delete)$/.test(event.key)) return;
      const action = latest.current[event.key] ?? latest.current[event.key.toLowerCase()];
      if (!action) return;
      event.preventDefault();
      action(event);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

/** The address of a picture of the endpoint once it has come, or why it did not. */
export function usePicture(path: string | null): { url: string | null; error: Error | null } {
  const [state, setState] = useState<{ path: string | null; url: string | null; error: Error | null }>(
    { path: null, url: null, error: null },
  );
  useEffect(() => {
    if (path === null) return;
    let current = true;
    pictureUrl(path).then(
      (url) => current && setState({ path, url, error: null }),
      (error: Error) => current && setState({ path, url: null, error }),
    );
    return () => {
      current = false;
    };
  }, [path]);
  return state.path === path ? state : { url: null, error: null };
}

/** The width of an element in pixels, as it changes. */
export function useWidth(): [(element: HTMLElement | null) => void, number] {
  const [width, setWidth] = useState(0);
  const observer = useRef<ResizeObserver | null>(null);
  const attach = useCallback((element: HTMLElement | null) => {
    observer.current?.disconnect();
    if (element === null) return;
    setWidth(element.clientWidth);
    observer.current = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.current.observe(element);
  }, []);
  return [attach, width];
}
