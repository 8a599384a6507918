// Two people changed the same event: their change beside mine, member by member. Nothing is dropped before it was shown.
import { useEffect, useRef, useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { type Key, useT } from "../../messages";
import { to } from "../../router";
import { useData } from "../../ui/data";
import { Id, Section, Time } from "../../ui/parts";

type Content = Schemas["NewEvent"];
type Side = "mine" | "theirs";
type Row = { path: string[]; label: string; mine: unknown; theirs: unknown; untouched: Side | undefined };

export const LABELS: Record<string, Key> = {
  title: "event.title", description: "reward.description", name: "name", tags: "event.tags", condition: "event.condition", rewardIds: "event.rewards",
  maxQuantity: "editor.max-quantity", recurrence: "event.recurrence", budget: "event.budget", group: "event.group", timeZone: "editor.zone",
  startDate: "event.starts", endDate: "event.ends", respondAsync: "editor.async", isActive: "event.active",
};

const same = (one: unknown, other: unknown) => canonical(one) === canonical(other);

/** JSON with sorted members, as their order means nothing. */
export function canonical(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined && member !== null);
  return `{${entries.sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join()}}`;
}

/** What differs. Params are compared one by one, as long as both are for the same version. */
export function differences(base: Content, mine: Content, theirs: Content, label: (key: Key) => string): Row[] {
  const rows: Row[] = [];
  const add = (path: string[], name: string, [was, my, their]: [unknown, unknown, unknown]) => {
    if (same(my, their)) return;
    const untouched = same(my, was) ? "mine" : same(their, was) ? "theirs" : undefined;
    rows.push({ path, label: name, mine: my, theirs: their, untouched });
  };
  for (const [member, key] of Object.entries(LABELS)) {
    const of = (content: Content) => content[member as keyof Content];
    const all = [base, mine, theirs].map((content) => content.condition);
    const isOnePlugin = all.every((condition) => condition.plugin === theirs.condition.plugin && condition.version === theirs.condition.version);
    if (member !== "condition" || !isOnePlugin || all.some(({ params }) => typeof params !== "object" || params === null)) {
      add([member], label(key), [of(base), of(mine), of(theirs)]);
      continue;
    }
    const [was, my, their] = all.map(({ params }) => params as Record<string, unknown>);
    const value = (params: Record<string, unknown> | undefined, name: string) => (params && Object.hasOwn(params, name) ? params[name] : undefined);
    for (const name of new Set([...Object.keys(my ?? {}), ...Object.keys(their ?? {})])) {
      add(["condition", "params", name], `${label(key)} · ${name}`, [value(was, name), value(my, name), value(their, name)]);
    }
  }
  return rows;
}

/** My content with the chosen members of theirs. */
export function merged(mine: Content, rows: Row[], chosen: Side[]): Content {
  const next = structuredClone(mine) as unknown as Record<string, unknown>;
  rows.forEach((row, index) => {
    if (chosen[index] !== "theirs") return;
    let at = next;
    for (const part of row.path.slice(0, -1)) at = at[part] as Record<string, unknown>;
    const last = row.path.at(-1) ?? "";
    if (row.theirs === undefined) delete at[last];
    else Object.defineProperty(at, last, { value: row.theirs, enumerable: true, writable: true, configurable: true });
  });
  return next as unknown as Content;
}

export function Conflict(props: { event: Schemas["Event"]; base: Content; mine: Content; theirs: Content; done: (content: Content, save: boolean) => void }) {
  const { event, base, mine, theirs, done } = props;
  const t = useT();
  const rows = differences(base, mine, theirs, t);
  const [chosen, setChosen] = useState<Side[]>(() => rows.map((row) => (row.untouched === "mine" ? "theirs" : "mine")));
  const path = { id: event.id };
  const last = useData(`revision ${event.id} ${event.revision}`, () => ok(api.GET("/events/{id}/revisions", { params: { path, query: { pageSize: 1 } } })));
  const head = useRef<HTMLParagraphElement>(null);
  useEffect(() => head.current?.focus(), []);
  const by = last.data?.items[0]?.changedBy;
  const finish = (sides: Side[], save: boolean) => done(merged(mine, rows, sides), save);
  return (
    <Section title={t("conflict.title")}>
      <p role="alert" tabIndex={-1} ref={head}>
        {t("conflict.hint")}
      </p>
      <p className="hint">
        {t("conflict.theirs", { revision: event.revision })} <Time at={event.updatedAt} /> {by && <Id id={by} to={to(["users", by])} />}
      </p>
      {rows.length === 0 ? (
        <p>{t("conflict.same")}</p>
      ) : (
        <div className="scroll" tabIndex={0} role="region" aria-label={t("conflict.title")}>
          <table className="sides">
            <thead>
              <tr>
                <th scope="col">{t("conflict.field")}</th>
                <th scope="col">{t("conflict.their-side")}</th>
                <th scope="col">{t("conflict.my-side")}</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row, index) => (
                <tr key={row.path.join("/")}>
                  <th scope="row">{row.label}</th>
                  {(["theirs", "mine"] as const).map((side) => (
                    <td key={side}>
                      <label className="check">
                        <input
                          type="radio"
                          name={`conflict ${row.path.join("/")}`}
                          checked={chosen[index] === side}
                          onChange={() => setChosen(chosen.map((old, at) => (at === index ? side : old)))}
                        />
                        <code className="wrap">{shown(row[side])}</code>
                      </label>
                      {row.untouched === side && <span className="hint">{t("conflict.unchanged")}</span>}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <div className="actions">
        <button type="button" onClick={() => setChosen(rows.map(() => "theirs"))}>
          {t("conflict.all-theirs")}
        </button>
        <button type="button" onClick={() => setChosen(rows.map(() => "mine"))}>
          {t("conflict.all-mine")}
        </button>
        <button type="button" className="primary" onClick={() => finish(chosen, true)}>
          {t("conflict.save")}
        </button>
        <button type="button" onClick={() => finish(chosen, false)}>
          {t("conflict.edit")}
        </button>
      </div>
    </Section>
  );
}

function shown(value: unknown): string {
  if (value === undefined || value === null || value === "") return "–";
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}
