// Backtests: a list with filters in the URL, the form of a new one, and one with its progress and report.
import { lazy } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT, useValue } from "../../messages";
import { Link, to, useFilters, useRoute } from "../../router";
import { useMay } from "../../session";
import { List } from "../../ui/data";
import { Badge, Field, Id, Page, Time } from "../../ui/parts";
import { BacktestPage } from "./page";

const STATES: Schemas["BacktestState"][] = ["QUEUED", "RUNNING", "PAUSED", "DONE", "FAILED", "CANCELLED"];
const FILTERS = ["state", "event"] as const;

const NewBacktest = lazy(() => import("./new"));

export default function Backtests() {
  const [, id] = useRoute().parts;
  if (id === "new") return <NewBacktest />;
  return id === undefined ? <BacktestList /> : <BacktestPage key={id} id={id} />;
}

function BacktestList() {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const [filters, setFilters] = useFilters(FILTERS);
  const query = {
    ...(filters.state === "" ? {} : { state: filters.state as Schemas["BacktestState"] }),
    ...(filters.event === "" ? {} : { eventId: filters.event }),
  };
  const key = JSON.stringify(query);
  return (
    <Page
      title={t("nav.backtests")}
      curl={`/backtests${to([], query).slice(1)}`}
      actions={may("backtests:write") && <Link className="button" to={to(["backtests", "new"], { event: filters.event })}>{t("backtest.new")}</Link>}
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
                  {v("state", state)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" defaultValue={filters.event} placeholder="UUID" />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Schemas["Backtest"]>
        label={t("nav.backtests")}
        from={key}
        read={(pageToken) => ok(api.GET("/backtests", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(backtest) => backtest.id}
        empty={t("backtests.empty")}
        columns={[
          { label: t("backtest.id"), cell: (backtest) => <Id id={backtest.id} to={to(["backtests", backtest.id])} /> },
          { label: t("state"), cell: (backtest) => <Badge group="state" value={backtest.state} /> },
          { label: t("claim.event"), cell: (backtest) => <Id id={backtest.eventId} to={to(["events", backtest.eventId])} /> },
          { label: t("backtest.candidate"), cell: ({ candidate }) => `${candidate.plugin} ${candidate.version}` },
          { label: t("backtest.period"), cell: (backtest) => <><Time at={backtest.from} /> – <Time at={backtest.to} /></> },
          { label: t("created"), cell: (backtest) => <Time at={backtest.createdAt} /> },
          { label: t("changed-by"), cell: (backtest) => <Id id={backtest.createdBy} to={to(["users", backtest.createdBy])} /> },
        ]}
      />
    </Page>
  );
}
