// Events: a list with filters in the URL, and one event with its condition, budget and revisions.
import { type FormEvent, lazy } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { Link, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Badge, Copy, Empty, Facts, Field, Id, Json, Page, ProblemBox, Section, Time } from "../ui/parts";
import { contentOf } from "./event-editor/draft";

type Offer = Schemas["Event"];
const FILTERS = ["active", "name", "tag", "plugin"] as const;

const Editor = lazy(() => import("./event-editor"));

export default function Events() {
  const [, id, action] = useRoute().parts;
  if (id === "new" || (id !== undefined && action === "edit")) return <Editor />;
  return id === undefined ? <EventList /> : <EventPage key={id} id={id} />;
}

function stateOf(event: Offer, now: number): "DRAFT" | "SCHEDULED" | "LIVE" | "OVER" {
  if (Date.parse(event.endDate) <= now) return "OVER";
  if (!event.isActive) return "DRAFT";
  return Date.parse(event.startDate) > now ? "SCHEDULED" : "LIVE";
}

function EventList() {
  const t = useT();
  const may = useMay();
  const [filters, setFilters] = useFilters(FILTERS);
  const query = {
    ...(filters.active === "" ? {} : { isActive: filters.active === "true" }),
    ...(filters.name === "" ? {} : { name: filters.name }),
    ...(filters.tag === "" ? {} : { tag: filters.tag }),
    ...(filters.plugin === "" ? {} : { plugin: filters.plugin }),
  };
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilters(Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])));
  };
  const key = JSON.stringify(query);
  const now = Date.now();
  return (
    <Page title={t("nav.events")} curl={`/events${to([], Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]))).slice(1)}`} actions={may("events:write") && <Link className="button" to="/events/new">{t("events.new")}</Link>}>
      <form className="filters" onSubmit={search} key={key}>
        <Field label={t("event.active")}>
          {(id) => (
            <select id={id} name="active" defaultValue={filters.active}>
              <option value="">{t("any")}</option>
              <option value="true">{t("yes")}</option>
              <option value="false">{t("no")}</option>
            </select>
          )}
        </Field>
        <Field label={t("name")}>{(id) => <input id={id} name="name" defaultValue={filters.name} />}</Field>
        <Field label={t("event.tag")}>{(id) => <input id={id} name="tag" defaultValue={filters.tag} />}</Field>
        <Field label={t("event.condition")}>{(id) => <input id={id} name="plugin" defaultValue={filters.plugin} placeholder="activity-count" />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Offer>
        label={t("nav.events")}
        from={key}
        read={(pageToken) => ok(api.GET("/events", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(event) => event.id}
        empty={t("events.empty")}
        columns={[
          { label: t("event.title"), cell: (event) => <Link to={to(["events", event.id])}>{event.title}</Link> },
          { label: t("state"), cell: (event) => <Badge group="state" value={stateOf(event, now)} /> },
          { label: t("event.condition"), cell: (event) => <Link to={to(["plugins", event.condition.plugin, event.condition.version])}>{event.condition.plugin}</Link> },
          { label: t("event.starts"), cell: (event) => <Time at={event.startDate} /> },
          { label: t("event.ends"), cell: (event) => <Time at={event.endDate} /> },
          { label: t("event.tags"), cell: (event) => event.tags.join(", ") },
          ...(may("events:write") ? [{ label: t("actions"), cell: (event: Offer) => <Link to={to(["events", "new"], { from: event.id })}>{t("event.duplicate")}</Link> }] : []),
        ]}
      />
    </Page>
  );
}

function EventPage({ id }: { id: string }) {
  const t = useT();
  const may = useMay();
  const v = useValue();
  const path = { params: { path: { id } } };
  const found = useData(`event ${id}`, () => ok(api.GET("/events/{id}", path)));
  const budget = useData(`budget ${id} ${found.data?.revision}`, () => ok(api.GET("/events/{id}/budget", path)));
  const action = useAction();
  return (
    <Load from={found}>
      {(event) => (
        <Page
          title={event.title}
          curl={`/events/${id}`}
          actions={
            <>
              <Link to={to(["claims"], { event: id })}>{t("nav.claims")}</Link>
              {may("audit-log:read") && <Link to={to(["audit"], { target: id })}>{t("nav.audit")}</Link>}
              <Copy label={t("copy.json")} text={JSON.stringify(event, null, 2)} />
              {may("releases:read") && <Link to={to(["releases"], { event: id })}>{t("nav.releases")}</Link>}
              {may("releases:write") && <Link to={to(["releases", "new"], { event: id })}>{t("release.propose")}</Link>}
              {may("backtests:write") && <Link to={to(["backtests", "new"], { event: id })}>{t("backtest.new")}</Link>}
              {may("events:write") && <Link to={to(["events", id, "edit"])}>{t("event.edit")}</Link>}
              {may("events:write") && <Link to={to(["events", "new"], { from: id })}>{t("event.duplicate")}</Link>}
              {may("events:write") && (
                <button type="button" disabled={action.busy} onClick={() => void action.run(async () => {
                  await ok(api.PUT("/events/{id}", { params: { path: { id }, header: { "If-Match": `"${event.revision}"` } }, body: { ...contentOf(event), isActive: !event.isActive } }));
                  found.reload();
                })}>
                  {event.isActive ? t("event.deactivate") : t("event.activate")}
                </button>
              )}
            </>
          }
        >
          {action.problem && <ProblemBox problem={action.problem} />}
          {event.description !== "" && <p>{event.description}</p>}
          <Facts
            items={[
              ["state", <Badge group="state" value={stateOf(event, Date.now())} />],
              ["event.starts", <><Time at={event.startDate} zone={event.timeZone} /><br /><Time at={event.startDate} /></>],
              ["event.ends", <><Time at={event.endDate} zone={event.timeZone} /><br /><Time at={event.endDate} /></>],
              ["event.recurrence", t("event.per", { count: event.recurrence.count ?? 1, period: v("period", event.recurrence.period) })],
              ["event.rewards", <>{event.rewardIds.map((reward) => <span key={reward}><Id id={reward} to={to(["rewards", reward])} /> </span>)}</>],
              ["event.revision", event.revision],
              ["event.group", event.group],
              ["event.tags", event.tags.join(", ")],
            ]}
          />
          <Section title={t("event.condition")} actions={<Link to={to(["plugins", event.condition.plugin, event.condition.version])}>{`${event.condition.plugin} ${event.condition.version}`}</Link>}>
            <Json value={event.condition.params} label={t("event.condition")} />
          </Section>
          <Section title={t("event.budget")}>
            <Load from={budget}>
              {(usage) =>
                usage.budget ? (
                  <ul className="rows">
                    {usage.periods.map((used) => (
                      <li key={used.period}>
                        {used.period}: {t("budget.used", { grants: used.grants, limit: usage.budget?.grants ?? "∞", amount: used.amount })}
                      </li>
                    ))}
                    {usage.periods.length === 0 && <li>{t("budget.unused")}</li>}
                  </ul>
                ) : (
                  <Empty>{t("budget.none")}</Empty>
                )
              }
            </Load>
          </Section>
          <Section title={t("event.revisions")}>
            <List<Schemas["EventRevision"]>
              label={t("event.revisions")}
              from={`${id} ${event.revision}`}
              read={(pageToken) => ok(api.GET("/events/{id}/revisions", { params: { path: { id }, query: { pageSize: 20, pageToken } } }))}
              id={(revision) => String(revision.revision)}
              empty={t("home.nothing")}
              columns={[
                { label: t("event.revision"), cell: (revision) => revision.revision, numeric: true },
                { label: t("changed"), cell: (revision) => <Time at={revision.changedAt} /> },
                { label: t("changed-by"), cell: (revision) => <Id id={revision.changedBy} to={to(["users", revision.changedBy])} /> },
                { label: t("event.content"), cell: (revision) => <details><summary>{t("show")}</summary><Json value={revision.event} label={t("event.content")} /></details> },
              ]}
            />
          </Section>
        </Page>
      )}
    </Load>
  );
}
