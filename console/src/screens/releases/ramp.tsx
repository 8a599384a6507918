// How a release becomes live: its steps, the bounds of its guard, and what was counted in each step and arm.
import { type Schemas, api, ok } from "../../api/client";
import { type Key, useT, useValue } from "../../messages";
import { Link, to, useFilters } from "../../router";
import { List, Load, useData } from "../../ui/data";
import { Badge, Empty, Facts, Field, Id, Json, Section, Time } from "../../ui/parts";
import { useEvery } from "../../ui/watch";

type Release = Schemas["Release"];
type Counts = Schemas["StepCounts"];
const KINDS: Schemas["DivergenceKind"][] = ["ALLOW_TO_DENY", "DENY_TO_ALLOW", "REVIEW", "AWARDS", "REASONS", "FAILURE"];
const FRESH_MS = 10_000;

export function Ramp({ release, turn }: { release: Release; turn: number }) {
  const t = useT();
  const { plan, step, state } = release;
  const steps = plan.steps ?? [];
  const isRunning = state === "RAMPING" || state === "HELD";
  return (
    <>
      <Section title={t("release.ramp")}>
        {steps.length === 0 ? (
          <Empty>{t("release.no-steps")}</Empty>
        ) : (
          <ol className="timeline">
            {steps.map(({ permille, seconds }, index) => (
              <li key={permille} aria-current={isRunning && step === index ? "step" : undefined}>
                {permille === 0 ? t("release.shadow") : t("release.share", { percent: permille / 10 })} {t("release.lasts", { hours: Math.round(seconds / 36) / 100 })}
                {isRunning && step === index && (
                  <>
                    {" "}
                    <Badge group="phase" value={state} /> {t("release.step-since")} <Time at={release.stepAt} />
                  </>
                )}
              </li>
            ))}
            <li>{t("release.then-live")}</li>
          </ol>
        )}
        {state === "HELD" && release.reason && <p className="problem">{t("release.held-because", { reason: release.reason })}</p>}
        {steps.length > 0 && (plan.guard ? <Bounds of={plan.guard} /> : <p className="hint">{t("release.no-guard")}</p>)}
      </Section>
      {steps.length > 0 && !["DRAFT", "REVIEW", "APPROVED"].includes(state) && (
        <>
          <Counted release={release} turn={turn} />
          <Divergences release={release} />
        </>
      )}
    </>
  );
}

function Bounds({ of }: { of: Schemas["ReleaseGuard"] }) {
  const t = useT();
  const permille = (bound: number | null | undefined): string => (bound === null || bound === undefined ? t("release.by-forecast") : t("release.permille", { bound }));
  const items: [Key, string][] = [
    ["guard.sample", t("release.sample", { decisions: of.minDecisions ?? 200, users: of.minUsers ?? 50 })],
    ["guard.failures", permille(of.failures ?? 10)],
    ["guard.fuel", t("release.percent", { bound: of.fuel ?? 80 })],
    ["divergence.ALLOW_TO_DENY", permille(of.allowToDeny)],
    ["divergence.DENY_TO_ALLOW", permille(of.denyToAllow)],
    ["guard.forecast", t("release.percent", { bound: of.forecast ?? 150 })],
  ];
  return (
    <>
      <h3>{t("release.guard")}</h3>
      <Facts items={items} />
    </>
  );
}

function Counted({ release, turn }: { release: Release; turn: number }) {
  const t = useT();
  const v = useValue();
  const [filters, setFilters] = useFilters(["kind"]);
  const path = { params: { path: { id: release.id } } };
  const counts = useData(`counts ${release.id} ${release.revision} ${turn}`, () => ok(api.GET("/releases/{id}/counts", path)));
  useEvery(release.state === "RAMPING" ? FRESH_MS : undefined, async () => counts.reload());
  const columns: { label: string; cell: (row: Counts) => number | string }[] = [
    { label: t("trial.decisions"), cell: (row) => row.decisions ?? 0 },
    { label: t("trial.users"), cell: (row) => row.users },
    { label: t("trial.granted"), cell: (row) => row.granted ?? 0 },
    { label: t("trial.rejected"), cell: (row) => row.rejected ?? 0 },
    { label: t("trial.held"), cell: (row) => row.held ?? 0 },
    { label: t("trial.value"), cell: (row) => row.value ?? 0 },
    { label: t("trial.failures"), cell: (row) => sum(row.failures) },
    { label: t("trial.compared"), cell: (row) => row.compared ?? 0 },
    { label: t("trial.dropped"), cell: (row) => row.dropped ?? 0 },
  ];
  return (
    <Section title={t("release.counts")}>
      <Load from={counts}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty>{t("release.no-counts")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={t("release.counts")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{t("event.revision")}</th>
                    <th scope="col">{t("trial.arm")}</th>
                    {columns.map(({ label }) => (
                      <th scope="col" className="numeric" key={label}>
                        {label}
                      </th>
                    ))}
                    <th scope="col">{t("release.divergences")}</th>
                  </tr>
                </thead>
                <tbody>
                  {items.map((row) => (
                    <tr key={`${row.eventRevision} ${row.arm}`}>
                      <td>{row.eventRevision}</td>
                      <td>{v("arm", row.arm)}</td>
                      {columns.map(({ label, cell }) => (
                        <td className="numeric" key={label}>
                          {cell(row)}
                        </td>
                      ))}
                      <td>
                        {Object.entries(row.divergences ?? {}).map(([kind, count]) => (
                          <button type="button" className="link" key={kind} onClick={() => setFilters({ ...filters, kind })}>
                            {v("divergence", kind)}: {count}
                          </button>
                        ))}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Load>
    </Section>
  );
}

function sum(of: Record<string, number> | undefined): number {
  return Object.values(of ?? {}).reduce((all, one) => all + one, 0);
}

function Divergences({ release }: { release: Release }) {
  const t = useT();
  const v = useValue();
  const [{ kind }, setFilters] = useFilters(["kind"]);
  const query = kind === "" ? {} : { kind: kind as Schemas["DivergenceKind"] };
  return (
    <Section title={t("release.divergences")}>
      <div className="filters">
        <Field label={t("activity.kind")}>
          {(id) => (
            <select id={id} value={kind} onChange={(event) => setFilters({ kind: event.target.value })}>
              <option value="">{t("any")}</option>
              {KINDS.map((known) => (
                <option key={known} value={known}>
                  {v("divergence", known)}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <List<Schemas["Divergence"]>
        label={t("release.divergences")}
        from={`${release.id} ${release.revision} ${kind}`}
        read={(pageToken) => ok(api.GET("/releases/{id}/divergences", { params: { path: { id: release.id }, query: { ...query, pageSize: 50, pageToken } } }))}
        id={(divergence) => divergence.id}
        empty={t("release.no-divergences")}
        columns={[
          { label: t("audit.at"), cell: (divergence) => <Time at={divergence.decidedAt} /> },
          { label: t("activity.kind"), cell: (divergence) => v("divergence", divergence.kind) },
          { label: t("claim.id"), cell: (divergence) => <Id id={divergence.requestId} to={to(["claims", divergence.requestId])} /> },
          { label: t("claim.user"), cell: (divergence) => <Id id={divergence.userId} to={to(["users", divergence.userId])} /> },
          { label: t("trial.decided-by"), cell: (divergence) => v("arm", divergence.decidedBy) },
          {
            label: t("trial.both"),
            cell: (divergence) => (
              <details>
                <summary>{t("show")}</summary>
                <Json value={{ stable: divergence.stable, candidate: divergence.candidate }} label={t("trial.both")} />
              </details>
            ),
          },
          { label: t("nav.why"), cell: (divergence) => <Link to={to(["why"], { user: divergence.userId, event: divergence.eventId, at: divergence.decidedAt })}>{t("why.ask")}</Link> },
        ]}
      />
    </Section>
  );
}
