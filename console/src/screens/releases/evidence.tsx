// The evidence: the backtest and its key numbers, or why none is needed.
import { useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, to } from "../../router";
import { useMay } from "../../session";
import { Load, useData } from "../../ui/data";
import { Empty, Facts, Id, Section, Time } from "../../ui/parts";
import { type Report, readReport } from "../backtests/document";
import { Why } from "./actions";
import type { Change } from "./page";

type Release = Schemas["Release"];

export function Evidence({ release, change }: { release: Release; change: Change }) {
  const t = useT();
  const may = useMay();
  const [asked, setAsked] = useState(false);
  const waits = ["DRAFT", "REVIEW", "APPROVED"].includes(release.state);
  const waives = may("releases:waive") && waits && !release.backtestId && !release.waiver;
  const path = { params: { path: { id: release.id } } };
  return (
    <Section
      title={t("release.evidence")}
      actions={
        <>
          {release.backtestId && <Link to={to(["backtests", release.backtestId])}>{t("release.report")}</Link>}
          {waives && (
            <button type="button" disabled={change.busy} onClick={() => setAsked(true)}>
              {t("release.waive")}
            </button>
          )}
        </>
      }
    >
      {release.waiver && (
        <p className="notice">
          {t("release.waived")} {release.waivedBy && <Id id={release.waivedBy} to={to(["users", release.waivedBy])} />}: {release.waiver}
        </p>
      )}
      {release.backtestId ? <Numbers id={release.backtestId} digest={release.reportDigest} /> : !release.waiver && <Empty>{t("release.no-evidence")}</Empty>}
      {asked && (
        <Why
          label={t("release.waive")}
          hint={t("release.waive-hint")}
          change={change}
          close={() => setAsked(false)}
          send={(reason) => ok(api.POST("/releases/{id}/waiver", { ...path, body: { reason } }))}
        />
      )}
    </Section>
  );
}

function Numbers({ id, digest }: { id: string; digest: string | null | undefined }) {
  const t = useT();
  const report = useData(`report ${id}`, () => readReport(id));
  return (
    <Load from={report}>
      {(signed) => {
        const { header, coverage, baseline, candidate, flips } = signed.report as unknown as Report;
        const both = (before: number, after: number) => t("backtest.both", { before, after });
        const at = to(["backtests", id]);
        return (
          <>
            {digest && !digest.endsWith(signed.digest) && <p className="problem">{t("release.other-report")}</p>}
            <Facts
              items={[
                ["backtest.period", <><Time at={header.from} /> – <Time at={header.to} /></>],
                ["backtest.seen", <Link to={at}>{coverage.seen}</Link>],
                ["backtest.grants", <Link to={at}>{both(baseline.grants, candidate.grants)}</Link>],
                ["backtest.value", both(baseline.value, candidate.value)],
                ["backtest.gained", <Link to={`${at}?flip=gained`}>{t("backtest.users", { users: flips.gained.users })}</Link>],
                ["backtest.lost", <Link to={`${at}?flip=lost`}>{t("backtest.users", { users: flips.lost.users })}</Link>],
                ["backtest.runs-out", candidate.exhausted.length === 0 ? t("backtest.nothing-runs-out") : <Time at={candidate.exhausted[0]?.at} />],
                ["backtest.fuel", t("backtest.of-limit", { permille: candidate.fuel.maxPermille })],
              ]}
            />
            <p className="hint">
              {t("backtest.digest")} <code className="wrap">{signed.digest}</code>
            </p>
          </>
        );
      }}
    </Load>
  );
}
