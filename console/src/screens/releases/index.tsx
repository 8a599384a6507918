// Releases: a list with filters in the URL, the form of a proposal, and one release.
import { lazy } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT, useValue } from "../../messages";
import { Link, to, useFilters, useRoute } from "../../router";
import { useMay } from "../../session";
import { List } from "../../ui/data";
import { Badge, Field, Id, Page, Time } from "../../ui/parts";
import { EventTitle } from "./event-title";
import { ReleasePage } from "./page";

export type Release = Schemas["Release"];
export const STATES: Schemas["ReleaseState"][] = ["DRAFT", "REVIEW", "APPROVED", "RAMPING", "HELD", "LIVE", "ROLLED_BACK", "WITHDRAWN"];
const FILTERS = ["state", "event"] as const;

const Proposal = lazy(() => import("./proposal"));

export default function Releases() {
  const [, id, action] = useRoute().parts;
  if (id === "new" || (id !== undefined && action === "edit")) return <Proposal />;
  return id === undefined ? <ReleaseList /> : <ReleasePage key={id} id={id} />;
}

function ReleaseList() {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const [filters, setFilters] = useFilters(FILTERS);
  const query = {
    ...(filters.state === "" ? {} : { state: filters.state as Schemas["ReleaseState"] }),
    ...(filters.event === "" ? {} : { eventId: filters.event }),
  };
  const key = JSON.stringify(query);
  return (
    <Page
      title={t("nav.releases")}
      curl={`/releases${to([], query).slice(1)}`}
      actions={may("releases:write") && <Link className="button" to={to(["releases", "new"], { event: filters.event })}>{t("release.propose")}</Link>}
    >
      <form
        className="filters"
        key={key}
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          setFilters(Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])));
        }}
      >
        <Field label={t("state")}>
          {(id) => (
            <select id={id} name="state" defaultValue={filters.state}>
              <option value="">{t("any")}</option>
              {STATES.map((state) => (
                <option key={state} value={state}>
                  {v("phase", state)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" defaultValue={filters.event} placeholder="UUID" />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Release>
        label={t("nav.releases")}
        from={key}
        read={(pageToken) => ok(api.GET("/releases", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(release) => release.id}
        empty={t("releases.empty")}
        columns={[
          { label: t("release.title"), cell: (release) => <Link to={to(["releases", release.id])}>{release.title}</Link> },
          { label: t("state"), cell: (release) => <Badge group="phase" value={release.state} /> },
          { label: t("claim.event"), cell: (release) => <EventTitle of={release} /> },
          { label: t("release.author"), cell: (release) => <Id id={release.createdBy} to={to(["users", release.createdBy])} /> },
          { label: t("created"), cell: (release) => <Time at={release.createdAt} /> },
          { label: t("changed"), cell: (release) => <Time at={release.updatedAt} /> },
        ]}
      />
    </Page>
  );
}
