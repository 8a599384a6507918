// Why did this customer not get it? A user and an event give the verdict, its reasons, the facts in words and what would change it,
// at the instant under the slider.
import type { FormEvent } from "react";
import { explain, readSubject } from "../../explain";
import { useT } from "../../messages";
import { navigate, to, useFilters } from "../../router";
import { useMay } from "../../session";
import { Load, useData } from "../../ui/data";
import { Badge, Empty, Field, Id, Page, Section, Time } from "../../ui/parts";
import { Reasons } from "../../ui/reasons";
import { UUID, userFilter } from "../claims";
import { Answer } from "./answer";
import { TimeSlider } from "./slider";

const FILTERS = ["user", "event", "at", "known"] as const;
type Filters = Record<(typeof FILTERS)[number], string>;

/** An instant for an input without a zone: the wall clock of this browser. */
function wallOf(at: string): string {
  const date = new Date(at);
  if (at === "" || Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function instantOf(at: string): string | undefined {
  const date = new Date(at);
  return at === "" || Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

export default function Why() {
  const t = useT();
  const [filters, setFilters] = useFilters(FILTERS);
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const typed = (name: string) => String(form.get(name) ?? "").trim();
    setFilters({ user: typed("user"), event: typed("event"), at: instantOf(typed("at")) ?? "", known: typed("known") });
  };
  const ready = filters.user !== "" && UUID.test(filters.event);
  return (
    <Page title={t("why.title")} {...(ready ? { curl: { path: `/events/${filters.event}/explain`, body: bodyOf(filters) } } : {})}>
      <form className="filters" onSubmit={search} key={JSON.stringify(filters)}>
        <Field label={t("claim.user")}>{(id) => <input id={id} name="user" required defaultValue={filters.user} placeholder={t("user.hint")} />}</Field>
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" required pattern="[0-9a-fA-F\-]{36}" defaultValue={filters.event} placeholder="UUID" />}</Field>
        <Field label={t("why.at")}>{(id) => <input id={id} name="at" type="datetime-local" step="1" defaultValue={wallOf(filters.at)} />}</Field>
        <label className="check">
          <input type="checkbox" name="known" value="then" defaultChecked={filters.known === "then"} />
          {t("why.known-then")}
        </label>
        <button type="submit" className="primary">
          {t("why.ask")}
        </button>
      </form>
      {ready ? <About key={`${filters.user} ${filters.event}`} filters={filters} /> : <Empty>{t("why.hint")}</Empty>}
    </Page>
  );
}

function bodyOf(filters: Filters): object {
  const asOf = instantOf(filters.at);
  return { ...userFilter(filters.user), ...(asOf === undefined ? {} : { asOf, ...(filters.known === "then" ? { knownBy: asOf } : {}) }) };
}

function About({ filters }: { filters: Filters }) {
  const t = useT();
  const may = useMay();
  const user = userFilter(filters.user);
  const asOf = instantOf(filters.at);
  const subject = useData(`${filters.user} ${filters.event}`, () => readSubject(user, filters.event, may("activities:read")));
  const answer = useData(`${filters.user} ${filters.event} ${asOf} ${filters.known}`, () => explain(user, filters.event, asOf, filters.known === "then"));
  // The slider moves through the history of the user; that is no history of the browser.
  const move = (at: string) => navigate(to(["why"], { ...filters, at }), true);
  return (
    <Load from={subject}>
      {(found) => (
        <>
          <TimeSlider subject={found} at={asOf} move={move} />
          <Load from={answer}>{(explanation) => <Answer event={found.event} explanation={explanation} />}</Load>
          <Section title={t("why.history")}>
            {found.claims.length === 0 ? (
              <Empty>{t("claims.empty")}</Empty>
            ) : (
              <ul className="rows">
                {found.claims.map((claim) => (
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
