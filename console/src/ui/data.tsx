// Reading from the API: one document, or a list by pages.
import { type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { type Problem, ProblemError } from "../api/client";
import { useT } from "../messages";
import { Empty, ProblemBox } from "./parts";

export function problemFrom(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { type: "", title: "", status: 0, code: "no-problem", detail: String(error) };
}

export type Loaded<T> = { data: T | undefined; problem: Problem | undefined; reload: () => void };

/** Reads again when `key` changes. The answer to an old key is dropped. */
export function useData<T>(key: string, read: () => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ key: string; data?: T; problem?: Problem }>({ key: "" });
  const [turn, setTurn] = useState(0);
  const current = useRef(read);
  current.current = read;
  useEffect(() => {
    let isCurrent = true;
    current.current().then(
      (data) => isCurrent && setState({ key, data }),
      (error: unknown) => isCurrent && setState({ key, problem: problemFrom(error) }),
    );
    return () => {
      isCurrent = false;
    };
  }, [key, turn]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  const isFresh = state.key === key;
  return { data: isFresh ? state.data : undefined, problem: isFresh ? state.problem : undefined, reload };
}

export function Load<T>({ from, children }: { from: Loaded<T>; children: (data: T) => ReactNode }) {
  const t = useT();
  if (from.problem) return <ProblemBox problem={from.problem} retry={from.reload} />;
  if (from.data === undefined) return <p role="status">{t("loading")}</p>;
  return <>{children(from.data)}</>;
}

type PageOf<T> = { items: T[]; nextPageToken?: string | null };
export type Column<T> = { label: string; cell: (row: T) => ReactNode; numeric?: boolean };

/** A table that reads a page at a time, and the next one when it is asked for. */
export function List<T>(props: {
  label: string;
  from: string;
  read: (pageToken: string | undefined) => Promise<PageOf<T>>;
  id: (row: T) => string;
  columns: Column<T>[];
  empty: ReactNode;
}) {
  const { label, from, read, id, columns, empty } = props;
  const t = useT();
  const first = useData(from, () => read(undefined));
  const [more, setMore] = useState<{ of: unknown; rows: T[]; next?: string | null; problem?: Problem }>({ of: undefined, rows: [] });
  const isMore = more.of === first.data && first.data !== undefined;
  const next = isMore ? more.next : first.data?.nextPageToken;
  const readMore = async () => {
    const before = isMore ? more.rows : [];
    try {
      const page = await read(next ?? undefined);
      setMore({ of: first.data, rows: [...before, ...page.items], next: page.nextPageToken ?? null });
    } catch (error) {
      setMore({ of: first.data, rows: before, next: next ?? null, problem: problemFrom(error) });
    }
  };
  return (
    <Load from={first}>
      {(page) => {
        const rows = isMore ? [...page.items, ...more.rows] : page.items;
        if (rows.length === 0) return <Empty>{empty}</Empty>;
        return (
          <>
            <div className="scroll" tabIndex={0} role="region" aria-label={label}>
              <table>
                <thead>
                  <tr>
                    {columns.map((column) => (
                      <th key={column.label} scope="col" className={column.numeric ? "numeric" : undefined}>
                        {column.label}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row) => (
                    <tr key={id(row)}>
                      {columns.map((column) => (
                        <td key={column.label} className={column.numeric ? "numeric" : undefined}>
                          {column.cell(row)}
                        </td>
                      ))}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            {isMore && more.problem && <ProblemBox problem={more.problem} />}
            {next && (
              <button type="button" onClick={() => void readMore()}>
                {t("more")}
              </button>
            )}
          </>
        );
      }}
    </Load>
  );
}

/** Runs a change once at a time and keeps its problem. */
export function useAction(): { busy: boolean; problem: Problem | undefined; run: (change: () => Promise<void>) => Promise<void> } {
  const [state, setState] = useState<{ busy: boolean; problem: Problem | undefined }>({ busy: false, problem: undefined });
  const run = async (change: () => Promise<void>) => {
    setState({ busy: true, problem: undefined });
    try {
      await change();
      setState({ busy: false, problem: undefined });
    } catch (error) {
      setState({ busy: false, problem: problemFrom(error) });
    }
  };
  return { ...state, run };
}
