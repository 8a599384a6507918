// Why did this customer not get it? A user and an event give the verdict, its reasons, the facts and the history.
import type { FormEvent } from "react";
import { explain } from "../explain";
import { useT, useValue } from "../messages";
import { Link, to, useFilters } from "../router";
import { Load, useData } from "../ui/data";
import { Badge, Empty, Facts, Field, Id, Page, Section, Time } from "../ui/parts";
import { FactTable, ProgressBars, Reasons } from "../ui/reasons";
import { UUID, userFilter } from "./claims";

const FILTERS = ["user", "event", "at"] as const;

export default function Why() {
  const t = useT();
  const [filters, setFilters] = useFilters(FILTERS);
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilters(Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])));
  };
  const ready = filters.user !== "" && UUID.test(filters.event);
  return (
    <Page title={t("why.title")} {...(ready ? { curl: `/events/${filters.event}/progress${to([], userFilter(filters.user)).slice(1)}` } : {})}>
      <form className="filters" onSubmit={search} key={JSON.stringify(filters)}>
        <Field label={t("claim.user")}>{(id) => <input id={id} name="user" required defaultValue={filters.user} placeholder={t("user.hint")} />}</Field>
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" required pattern="[0-9a-fA-F\-]{36}" defaultValue={filters.event} placeholder="UUID" />}</Field>
        <Field label={t("why.at")}>{(id) => <input id={id} name="at" type="datetime-local" step="1" defaultValue={filters.at} />}</Field>
        <button type="submit" className="primary">
          {t("why.ask")}
        </button>
      </form>
      {ready ? <Answer user={filters.user} event={filters.event} at={filters.at} /> : <Empty>{t("why.hint")}</Empty>}
    </Page>
  );
}

function Answer({ user, event, at }: { user: string; event: string; at: string }) {
  const t = useT();
  const v = useValue();
  const instant = at === "" ? undefined : new Date(at).toISOString();
  const found = useData(`${user} ${event} ${at}`, () => explain(userFilter(user), event, instant));
  return (
    <Load from={found}>
      {({ event: offer, progress, claims, run }) => (
        <>
          <p className={`verdict ${progress.eligible ? "good" : "calm"}`} role="status">
            {progress.eligible ? t("why.yes") : progress.granted >= progress.limit && progress.limit > 0 ? t("why.has") : t("why.no")}
          </p>
          <Facts
            items={[
              ["event.title", <Link to={to(["events", offer.id])}>{offer.title}</Link>],
              ["why.granted", t("why.of", { granted: progress.granted, limit: progress.limit })],
              ["claim.period", progress.period],
              ["claim.retry", <Time at={progress.retryAt} zone={offer.timeZone} />],
              ["why.held", progress.heldRequestId ? <Id id={progress.heldRequestId} to={to(["claims", progress.heldRequestId])} /> : "–"],
            ]}
          />
          <Section title={t("claim.reasons")}>
            <Reasons reasons={progress.reasons} empty={t("reasons.none")} />
            <ProgressBars progress={progress.progress} />
          </Section>
          {run && (
            <Section title={t("facts.title")}>
              {run.decision && <p className="hint">{t("why.condition", { outcome: v("outcome", run.decision.outcome) })}</p>}
              {run.failure && <p className="problem">{run.failure.message}</p>}
              <FactTable queries={run.queries} facts={run.facts} />
            </Section>
          )}
          <Section title={t("why.history")}>
            {claims.length === 0 ? (
              <Empty>{t("claims.empty")}</Empty>
            ) : (
              <ul className="rows">
                {claims.map((claim) => (
                  <li key={claim.id}>
                    <Badge group="status" value={claim.status} /> <Time at={claim.receivedAt} /> <Id id={claim.id} to={to(["claims", claim.id])} />
                    <Reasons reasons={claim.reasons} />
                  </li>
                ))}
              </ul>
            )}
          </Section>
        </>
      )}
    </Load>
  );
}
