// The report of a backtest. Each number leads to its rows where the server has them: claims, users at an instant, rewards.
import { lazy } from "react";
import type { ReactNode } from "react";
import type { Schemas } from "../../api/client";
import { type Key, useT, useValue } from "../../messages";
import { Link, to } from "../../router";
import { Load, useData } from "../../ui/data";
import { Empty, Facts, Section, Time } from "../../ui/parts";
import { type Report, type Side, readReport } from "./document";
import { Flips } from "./flips";

const Curves = lazy(() => import("./curves"));

export function ReportView({ id }: { id: string }) {
  const read = useData(`report ${id}`, () => readReport(id));
  return <Load from={read}>{(signed) => <Shown signed={signed} />}</Load>;
}

function Shown({ signed }: { signed: Schemas["BacktestReport"] }) {
  const t = useT();
  const v = useValue();
  const report = signed.report as unknown as Report;
  const { header, rounds, cannotTell, reproduction } = report;
  const [mine, theirs] = rounds.unsettledGrants;
  const save = () => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(signed)], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: url, download: `report-${signed.run.backtestId}.json` }).click();
    URL.revokeObjectURL(url);
  };
  return (
    <>
      {!rounds.settled && <p className="notice">{t("backtest.unsettled", { rounds: rounds.rounds, baseline: mine, candidate: theirs })}</p>}
      {header.limitsScaled && <p className="notice">{t("backtest.scaled")}</p>}
      <Sides report={report} />
      <Flips report={report} />
      <Curves report={report} />
      <Coverage report={report} />
      <Section title={t("backtest.reproduction")}>
        <p className="hint">{t("backtest.reproduction-hint")}</p>
        <Facts items={[["backtest.same", reproduction.same], ["backtest.different", reproduction.different], ["backtest.not-comparable", reproduction.notComparable]]} />
        <Rows of={reproduction.kinds.map(({ reason, count }) => [reason, count])} label={t("backtest.reproduction")} />
      </Section>
      <Section title={t("backtest.cannot-tell")}>
        <ul>
          {cannotTell.map((text) => (
            <li key={text}>{knownText(text, v)}</li>
          ))}
        </ul>
      </Section>
      <Section
        title={t("backtest.proof")}
        actions={
          <button type="button" onClick={save}>
            {t("receipt.download")}
          </button>
        }
      >
        <Facts
          items={[
            ["backtest.digest", <code className="wrap">{signed.digest}</code>],
            ["receipt.key", <code className="wrap">{signed.signature?.keyId ?? "–"}</code>],
            ["backtest.engine", `${header.engine}, ${header.timeZones}`],
            ["backtest.baseline", <code className="wrap">{header.baseline.digest}</code>],
            ["backtest.candidate", <code className="wrap">{header.candidate.digest}</code>],
            ["backtest.asked", v("pace", header.candidate.asked)],
            ["backtest.finished", <Time at={signed.run.finishedAt} />],
          ]}
        />
      </Section>
    </>
  );
}

/** The server writes these texts in English, as they are signed. Each is known by its beginning. */
function knownText(text: string, v: (group: string, value: string) => string): string {
  const code = text.toLowerCase().replace(/[^a-z]+/g, "-").split("-").slice(0, 4).join("-");
  const known = v("cannot", code);
  return known === code ? text : known;
}

function Sides({ report }: { report: Report }) {
  const t = useT();
  const { baseline, candidate, header, coverage } = report;
  const claims = to(["claims"], { event: header.event.id, from: header.from.slice(0, 10), to: nextDay(header.to) });
  const rows: [Key, (side: Side) => ReactNode][] = [
    ["backtest.grants", (side) => side.grants],
    ["backtest.granted-users", (side) => side.users],
    ["backtest.value", (side) => side.value],
    ["backtest.claims-granted", (side) => side.claims.granted],
    ["backtest.claims-refused", (side) => side.claims.refused],
    ["backtest.claims-held", (side) => side.claims.held],
    ["backtest.claims-failed", (side) => side.claims.failed],
    ["backtest.silent-granted", (side) => side.silentUsers.granted],
    ["backtest.top-users", (side) => t("backtest.top", { users: side.concentration.topUsers, permille: side.concentration.topGrantsPermille })],
    ["backtest.most-grants", (side) => side.concentration.mostGrantsOfAUser],
    ["backtest.new-accounts", (side) => side.concentration.newAccountGrants],
    ["backtest.invited", (side) => side.concentration.invitedGrants],
    ["backtest.fuel-p50", (side) => side.fuel.p50],
    ["backtest.fuel-p99", (side) => side.fuel.p99],
    ["backtest.fuel-max", (side) => t("backtest.fuel-of", { max: side.fuel.max, permille: side.fuel.maxPermille })],
    ["backtest.questions", (side) => side.questions.asked],
    ["backtest.runs-out", (side) => <RunsOut of={side} />],
  ];
  return (
    <Section title={t("backtest.outcome")} actions={<Link to={claims}>{t("backtest.real-claims", { claims: coverage.claims })}</Link>}>
      <div className="scroll" tabIndex={0} role="region" aria-label={t("backtest.outcome")}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t("backtest.number")}</th>
              <th scope="col" className="numeric">{t("backtest.baseline")}</th>
              <th scope="col" className="numeric">{t("backtest.candidate")}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([key, cell]) => (
              <tr key={key}>
                <th scope="row">{t(key)}</th>
                <td className="numeric">{cell(baseline)}</td>
                <td className="numeric">{cell(candidate)}</td>
              </tr>
            ))}
            {reasonsOf(report).map((reason) => (
              <tr key={reason}>
                <th scope="row">
                  {t("claim.reasons")}: <code className="wrap">{reason}</code>
                </th>
                <td className="numeric">{countOf(baseline, reason)}</td>
                <td className="numeric">{countOf(candidate, reason)}</td>
              </tr>
            ))}
            {[...new Set([...Object.keys(baseline.failures), ...Object.keys(candidate.failures)])].map((code) => (
              <tr key={code}>
                <th scope="row">
                  {t("plugin.failures")}: <code className="wrap">{code}</code>
                </th>
                <td className="numeric">{baseline.failures[code] ?? 0}</td>
                <td className="numeric">{candidate.failures[code] ?? 0}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

/** A filter of days includes the last one. */
function nextDay(instant: string): string {
  return new Date(Date.parse(instant) + 86_400_000).toISOString().slice(0, 10);
}

function reasonsOf({ baseline, candidate }: Report): string[] {
  return [...new Set([...baseline.reasons, ...candidate.reasons].map(({ reason }) => reason))].slice(0, 50);
}

function countOf(side: Side, reason: string): number {
  return side.reasons.find((row) => row.reason === reason)?.count ?? 0;
}

function RunsOut({ of }: { of: Side }) {
  const t = useT();
  if (of.exhausted.length === 0) return <>{t("backtest.nothing-runs-out")}</>;
  return (
    <ul className="rows">
      {of.exhausted.slice(0, 20).map(({ at, rewardId, budgetPeriod }) => (
        <li key={at + (rewardId ?? budgetPeriod)}>
          {rewardId ? <Link to={to(["rewards", rewardId])}>{t("reward.stock")}</Link> : `${t("event.budget")} ${budgetPeriod ?? ""}`} <Time at={at} />
        </li>
      ))}
    </ul>
  );
}

function Coverage({ report }: { report: Report }) {
  const t = useT();
  const v = useValue();
  const { coverage, header } = report;
  const claims = to(["claims"], { event: header.event.id, from: header.from.slice(0, 10), to: nextDay(header.to) });
  return (
    <Section title={t("backtest.coverage")}>
      <Facts
        items={[
          ["backtest.seen", coverage.seen],
          ["backtest.claimants", <Link to={claims}>{coverage.claimants}</Link>],
          ["backtest.silent", coverage.silent],
          ["backtest.stopped", coverage.stopped],
          ["backtest.claims", <Link to={claims}>{coverage.claims}</Link>],
          ["backtest.activities", coverage.activities],
          ["backtest.last", <Time at={coverage.lastRecorded} />],
        ]}
      />
      <h3>{t("backtest.skipped")}</h3>
      {Object.keys(coverage.skipped).length === 0 ? <Empty>{t("backtest.none-skipped")}</Empty> : <Rows of={Object.entries(coverage.skipped).map(([why, users]) => [v("skipped", why), users])} label={t("backtest.skipped")} />}
    </Section>
  );
}

export function Rows({ of, label }: { of: [string, number][]; label: string }) {
  if (of.length === 0) return null;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <tbody>
          {of.slice(0, 100).map(([name, count]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td className="numeric">{count}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
