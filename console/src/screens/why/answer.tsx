// An explanation: the verdict, its reasons, the facts in words, and other facts with which the condition decides otherwise.
import type { Schemas } from "../../api/client";
import { type Key, useLanguage, useT, useValue } from "../../messages";
import { Link, to } from "../../router";
import { Empty, Facts, Section, Time } from "../../ui/parts";
import { FactWords, PlanWords, QueryWords } from "../../ui/plan";
import { FactTable, ProgressBars, Reasons } from "../../ui/reasons";
import { knownZone } from "../../ui/zones";

type Explanation = Schemas["Explanation"];

function verdictKey({ verdict, reasons }: Explanation): Key {
  if (verdict === "GRANTED") return "why.yes";
  if (verdict === "HELD") return "why.held-verdict";
  if (verdict === "FAILED") return "why.failed";
  return reasons.some(({ source, code }) => source === "HOST" && code === "already-granted") ? "why.has" : "why.no";
}

export function Answer({ event, explanation }: { event: Schemas["Event"]; explanation: Explanation }) {
  const t = useT();
  const v = useValue();
  const language = useLanguage();
  const { details, facts, reasons, verdict } = explanation;
  const zone = details?.timeZone ?? event.timeZone;
  const queries = facts.map(({ query }) => query);
  const progress = explanation.progress.map(({ key, label, labels, ...rest }) => ({ ...rest, key: labels?.[language] ?? label ?? key }));
  return (
    <>
      <p className={`verdict ${verdict === "GRANTED" ? "good" : "calm"}`} role="status">
        {t(verdictKey(explanation))}
      </p>
      <Facts
        items={[
          ["event.title", <Link to={to(["events", event.id])}>{event.title}</Link>],
          ["why.at-label", <Time at={explanation.asOf} zone={knownZone(zone) ?? "UTC"} />],
          ["why.known-by", explanation.knownBy ? <Time at={explanation.knownBy} /> : t("why.known-now")],
          ["why.decided-by", v("actor", explanation.decidedBy)],
          ["event.revision", explanation.eventRevision],
          ["claim.retry", <Time at={explanation.retryAt} zone={knownZone(zone) ?? "UTC"} />],
        ]}
      />
      <Section title={t("claim.reasons")}>
        <Reasons reasons={reasons} empty={t("reasons.none")} />
        <ProgressBars progress={progress} />
      </Section>
      <Section title={t("facts.title")}>
        {details?.failure && <p className="problem">{details.failure}</p>}
        <PlanWords queries={queries} facts={facts.map(({ value }) => value ?? "absent")} zone={zone} />
        {details && details.queries.length > 0 && (
          <details>
            <summary>{t("why.raw")}</summary>
            <FactTable queries={details.queries} facts={details.facts} />
          </details>
        )}
      </Section>
      <Counterfactuals of={explanation} zone={zone} />
    </>
  );
}

function Counterfactuals({ of, zone }: { of: Explanation; zone: string }) {
  const t = useT();
  const v = useValue();
  const { counterfactuals, facts, search } = of;
  return (
    <Section title={t("why.otherwise")}>
      {counterfactuals.length === 0 ? (
        <Empty>{search.skipped ? v("search", search.skipped) : t("why.no-otherwise")}</Empty>
      ) : (
        <ul className="plan">
          {counterfactuals.map((found, index) => (
            <li key={index}>
              <strong>{v("verdict", found.verdict)}</strong>{" "}
              {found.changes.map((change) => {
                const query = facts[change.fact]?.query;
                return (
                  <span key={change.fact}>
                    {query && <QueryWords query={query} zone={zone} />} <del><FactWords fact={change.from} zone={zone} /></del> → <ins><FactWords fact={change.to} zone={zone} /></ins>{" "}
                  </span>
                );
              })}
              {found.minimal && <span className="chip">{t("why.minimal")}</span>}
              <Reasons reasons={found.reasons} />
            </li>
          ))}
        </ul>
      )}
      <p className="hint">
        {search.stoppedBy ? t("why.stopped", { runs: search.runs }) : t("why.searched", { runs: search.runs })}
      </p>
    </Section>
  );
}
