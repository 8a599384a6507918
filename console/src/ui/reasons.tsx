// Reasons of the host by code and arguments, in the user's language. Those of a condition are its own text.
import type { Schemas } from "../api/client";
import { useT, useValue } from "../messages";
import { Empty } from "./parts";

export function Reasons({ reasons, empty }: { reasons: Schemas["Reason"][]; empty?: string }) {
  const v = useValue();
  if (reasons.length === 0) return empty === undefined ? null : <Empty>{empty}</Empty>;
  return (
    <ul className="reasons">
      {reasons.map((reason) => {
        const key = `${reason.code}`;
        const known = reason.source === "HOST" ? v("reason", key) : key;
        const text = known === key ? reason.message : known;
        const args = Object.entries(reason.args ?? {}).map(([name, value]) => `${name} = ${String(value)}`);
        return (
          <li key={key + reason.message} title={args.join("\n")}>
            {text} <code>{key}</code>
          </li>
        );
      })}
    </ul>
  );
}

export function ProgressBars({ progress }: { progress: Schemas["Progress"][] }) {
  const t = useT();
  if (progress.length === 0) return null;
  return (
    <ul className="rows">
      {progress.map(({ key, current, target }) => (
        <li key={key}>
          <label>
            {t("progress.of", { key, current, target })} <progress value={Math.min(current, target)} max={Math.max(target, 1)} />
          </label>
        </li>
      ))}
    </ul>
  );
}

/** A fact as the receipt has it. */
export function factText(fact: unknown): string {
  if (typeof fact !== "object" || fact === null) return String(fact);
  const [[kind, value] = ["", ""]] = Object.entries(fact);
  return typeof value === "object" ? `${kind} ${JSON.stringify(value)}` : String(value);
}

export function queryText(query: unknown): string {
  return typeof query === "string" ? query : JSON.stringify(query);
}

export function FactTable({ queries, facts }: { queries: unknown[]; facts: unknown[] }) {
  const t = useT();
  if (queries.length === 0) return <Empty>{t("facts.none")}</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("facts.title")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("facts.query")}</th>
            <th scope="col">{t("facts.answer")}</th>
          </tr>
        </thead>
        <tbody>
          {queries.map((query, index) => (
            <tr key={index}>
              <td>
                <code className="wrap">{queryText(query)}</code>
              </td>
              <td>{factText(facts[index])}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
