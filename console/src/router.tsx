// Paths below /console/, and the filters in the query.
import { type AnchorHTMLAttributes, type MouseEvent, useSyncExternalStore } from "react";

const BASE = "/console";
const listeners = new Set<() => void>();

function changed(): void {
  for (const listener of listeners) listener();
}
window.addEventListener("popstate", changed);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function navigate(to: string, replace = false): void {
  if (replace) history.replaceState(null, "", BASE + to);
  else history.pushState(null, "", BASE + to);
  changed();
  if (!replace) window.scrollTo(0, 0);
}

/** The parts of the path, decoded, and the query. */
export function useRoute(): { parts: string[]; query: URLSearchParams } {
  const url = useSyncExternalStore(subscribe, () => location.pathname + location.search);
  const [path = "", search = ""] = url.split(/\?(.*)/s);
  const parts = path.slice(BASE.length).split("/").filter((part) => part !== "").map(decode);
  return { parts, query: new URLSearchParams(search) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** A path of encoded parts and a query of those that are not empty. */
export function to(parts: string[], query: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams(Object.entries(query).filter((pair): pair is [string, string] => !!pair[1])).toString();
  return `/${parts.map(encodeURIComponent).join("/")}${search === "" ? "" : `?${search}`}`;
}

export function Link({ to: target, ...rest }: { to: string } & AnchorHTMLAttributes<HTMLAnchorElement>) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(target);
  };
  return <a href={BASE + target} onClick={follow} {...rest} />;
}

/** The values of filters, which are in the query, and a function that sets them. */
export function useFilters<K extends string>(names: readonly K[]): [Record<K, string>, (values: Partial<Record<K, string>>) => void] {
  const { parts, query } = useRoute();
  const values = Object.fromEntries(names.map((name) => [name, query.get(name) ?? ""])) as Record<K, string>;
  return [values, (next) => navigate(to(parts, { ...Object.fromEntries(query), ...next }))];
}
