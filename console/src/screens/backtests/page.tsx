// One backtest: what was asked, how far it is, and its report.
import { type Schemas, api, ok } from "../../api/client";
import { useT, useValue } from "../../messages";
import { Link, to } from "../../router";
import { useMay } from "../../session";
import { Load, useAction, useData } from "../../ui/data";
import { Badge, Facts, Id, Json, Page, ProblemBox, Section, Time, quoted } from "../../ui/parts";
import { useEvery } from "../../ui/watch";
import { ReportView } from "./report";

type Backtest = Schemas["Backtest"];
const FRESH_MS = 2_000;

export function BacktestPage({ id }: { id: string }) {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const action = useAction();
  const path = { params: { path: { id } } };
  const found = useData(`backtest ${id}`, () => ok(api.GET("/backtests/{id}", path)));
  const state = found.data?.state;
  useEvery(state === "QUEUED" || state === "RUNNING" ? FRESH_MS : undefined, async () => found.reload());
  const change = (send: () => Promise<unknown>) =>
    void action.run(async () => {
      await send();
      found.reload();
    });
  const writes = may("backtests:write");
  return (
    <Page
      title={t("backtest.title", { id: id.slice(-8) })}
      curl={state === "DONE" ? `/backtests/${id}/report` : `/backtests/${id}`}
      {...(found.data ? { cli: commandOf(found.data) } : {})}
      actions={<Link to="/backtests">{t("nav.backtests")}</Link>}
    >
      {action.problem && <ProblemBox problem={action.problem} />}
      <Load from={found}>
        {(backtest) => (
          <>
            <Facts
              items={[
                ["state", <Badge group="state" value={backtest.state} />],
                ["claim.event", <Id id={backtest.eventId} to={to(["events", backtest.eventId])} />],
                ["event.revision", backtest.eventRevision],
                ["backtest.period", <><Time at={backtest.from} /> – <Time at={backtest.to} /></>],
                ["backtest.population", v("population", backtest.population)],
                ["backtest.sample", backtest.sample ?? t("backtest.all-users")],
                ["created", <Time at={backtest.createdAt} />],
                ["changed-by", <Id id={backtest.createdBy} to={to(["users", backtest.createdBy])} />],
              ]}
            />
            <ProgressOf backtest={backtest} />
            {backtest.failure && <p className="problem">{backtest.failure}</p>}
            <div className="actions">
              {writes && (backtest.state === "QUEUED" || backtest.state === "RUNNING") && (
                <button type="button" disabled={action.busy} onClick={() => change(() => ok(api.POST("/backtests/{id}/pause", path)))}>
                  {t("backtest.pause")}
                </button>
              )}
              {writes && backtest.state === "PAUSED" && (
                <button type="button" className="primary" disabled={action.busy} onClick={() => change(() => ok(api.POST("/backtests/{id}/resume", path)))}>
                  {t("backtest.resume")}
                </button>
              )}
              {writes && ["QUEUED", "RUNNING", "PAUSED"].includes(backtest.state) && (
                <button type="button" className="danger" disabled={action.busy} onClick={() => change(() => ok(api.POST("/backtests/{id}/cancellation", path)))}>
                  {t("backtest.cancel")}
                </button>
              )}
              {may("releases:write") && backtest.state === "DONE" && (
                <Link className="button" to={to(["releases", "new"], { event: backtest.eventId, backtest: id })}>
                  {t("backtest.propose")}
                </Link>
              )}
            </div>
            <Section title={t("backtest.conditions")}>
              <h3>{`${t("backtest.baseline")}: ${backtest.baseline.plugin} ${backtest.baseline.version}`}</h3>
              <Json value={backtest.baseline.params} label={t("backtest.baseline")} />
              <h3>{`${t("backtest.candidate")}: ${backtest.candidate.plugin} ${backtest.candidate.version}`}</h3>
              <Json value={backtest.candidate.params} label={t("backtest.candidate")} />
            </Section>
            {backtest.state === "DONE" && <ReportView id={id} />}
          </>
        )}
      </Load>
    </Page>
  );
}

function ProgressOf({ backtest }: { backtest: Backtest }) {
  const t = useT();
  if (backtest.state === "DONE" || backtest.state === "CANCELLED" || backtest.state === "FAILED") return null;
  const { users, replayed, round } = backtest.progress;
  return (
    <p role="status">
      {typeof users === "number" ? (
        <label>
          {t("backtest.progress", { replayed, users, round: round ?? 1 })} <progress value={replayed} max={Math.max(users, 1)} />
        </label>
      ) : (
        t("backtest.counting")
      )}
    </p>
  );
}

/** The same on a copy of the database, without the server. */
function commandOf({ eventId, candidate, from, to: end, sample, population }: Backtest): string {
  const parts = ["meed backtest", eventId, "--plugin", `${candidate.plugin}-${candidate.version}.wasm`, "--params", quoted(JSON.stringify(candidate.params)), "--from", from, "--to", end];
  if (population === "CLAIMANTS") parts.push("--claimants");
  if (typeof sample === "number") parts.push("--sample", String(sample));
  return parts.join(" ");
}
