// The queries of a plan in words, with their answers if there are any.
import type { Schemas } from "../api/client";
import { type Key, useLanguage, useT } from "../messages";
import { Empty, Time } from "./parts";
import { knownZone } from "./zones";
import { factText, queryText } from "./reasons";

type Query = Schemas["Query"];
type Selection = Schemas["Selection"];

const KINDS: Record<string, Key> = {
  count: "plan.count", sum: "plan.sum", distinctDays: "plan.distinct-days", streak: "plan.streak", first: "plan.first", last: "plan.last",
};

export function PlanWords({ queries, facts, zone }: { queries: Query[]; facts?: Schemas["Fact"][]; zone: string }) {
  const t = useT();
  if (queries.length === 0) return <Empty>{t("facts.none")}</Empty>;
  return (
    <ul className="plan">
      {queries.map((query, index) => (
        <li key={index}>
          <QueryWords query={query} zone={zone} />
          {facts && (
            <>
              {" "}
              <strong>
                <FactWords fact={facts[index]} zone={zone} />
              </strong>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}

export function QueryWords({ query, zone }: { query: Query; zone: string }) {
  const t = useT();
  if (query === "grants") return <>{t("plan.grants")}</>;
  const [[kind, of] = ["", undefined]] = Object.entries(query);
  if (kind === "attribute") return <>{t("plan.attribute", { attribute: String(of) })}</>;
  const key = KINDS[kind];
  if (!key) return <code className="wrap">{queryText(query)}</code>;
  const { kind: activity, filters, subject, window } = of as Selection;
  return (
    <>
      {t(key, { kind: activity })} <WindowWords window={window} zone={zone} />
      {subject === "invitees" && <span className="chip">{t("plan.invitees")}</span>}
      {filters.map(({ attribute, equals }) => (
        <span className="chip" key={attribute + equals}>
          {t("plan.filter", { attribute, equals })}
        </span>
      ))}
    </>
  );
}

function WindowWords({ window, zone }: { window: Selection["window"]; zone: string }) {
  const t = useT();
  const language = useLanguage();
  if (window === "eventPeriod") return <span className="chip">{t("plan.event-period")}</span>;
  if (window === "allTime") return <span className="chip">{t("plan.all-time")}</span>;
  if ("lastDays" in window) return <span className="chip">{t("plan.last-days", { days: window.lastDays, zone })}</span>;
  const at = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short", timeZone: knownZone(zone) }).format(new Date(window.since));
  return <span className="chip">{t("plan.since", { at, zone })}</span>;
}

export function FactWords({ fact, zone }: { fact: Schemas["Fact"] | undefined; zone: string }) {
  const t = useT();
  if (fact === undefined || fact === "absent") return <>{t("plan.absent")}</>;
  if (typeof fact === "object" && "at" in fact) return <Time at={fact.at} zone={knownZone(zone)} />;
  if (typeof fact === "object" && "days" in fact) return <>{t("plan.days", { current: fact.days.current, longest: fact.days.longest })}</>;
  return <>{factText(fact)}</>;
}
