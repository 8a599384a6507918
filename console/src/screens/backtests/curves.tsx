// The curves of a report: who is eligible for the first time, and what is granted over time.
import { useT } from "../../messages";
import { Bars, Lines } from "../../ui/chart";
import { Empty, Section } from "../../ui/parts";
import { wallOf } from "../../ui/zones";
import type { Report, Side } from "./document";

/** A table of days stays short; the download has all of them. */
const MOST_ROWS = 100;

export default function Curves({ report }: { report: Report }) {
  const t = useT();
  const { baseline, candidate, forecast, header } = report;
  const names = [t("backtest.baseline"), t("backtest.candidate")] as const;
  const days = [...new Set([...baseline.firstEligible, ...candidate.firstEligible].map(({ day }) => day))].sort();
  const first = [cumulative(baseline, days), cumulative(candidate, days)] as const;
  const steps = forecast.steps.map(({ from }) => wallOf(from, header.event.timeZone).slice(0, forecast.stepSeconds < 86_400 ? 16 : 10).replace("T", " "));
  let before = 0;
  const granted = [
    forecast.steps.map((step) => (before += step.baselineGrants + step.baselineSilentGrants)),
    forecast.steps.map((step) => step.cumulativeGrants + step.cumulativeSilentGrants),
  ] as const;
  const perStep = forecast.steps.map((step, index) => ({ key: steps[index] ?? "", values: [step.baselineGrants + step.baselineSilentGrants, step.grants + step.silentGrants] }));
  return (
    <>
      <Section title={t("backtest.first-eligible")}>
        <p className="hint">{t("backtest.first-eligible-hint", { zone: header.event.timeZone })}</p>
        {days.length === 0 ? (
          <Empty>{t("home.nothing")}</Empty>
        ) : (
          <Lines
            labels={days}
            series={[{ name: names[0], values: first[0] }, { name: names[1], values: first[1] }]}
            table={<Table head={[t("backtest.day"), ...names]} rows={days.map((day, index) => ({ key: day, values: [first[0][index] ?? 0, first[1][index] ?? 0] }))} />}
          />
        )}
      </Section>
      <Section title={t("backtest.forecast")}>
        <p className="hint">{t("backtest.forecast-hint", { zone: header.event.timeZone })}</p>
        {steps.length === 0 ? (
          <Empty>{t("home.nothing")}</Empty>
        ) : (
          <Lines
            labels={steps}
            series={[{ name: names[0], values: granted[0] }, { name: names[1], values: granted[1] }]}
            table={<Table head={[t("backtest.step"), ...names]} rows={perStep.filter(({ values }) => values.some((value) => value > 0))} />}
          />
        )}
      </Section>
    </>
  );
}

function cumulative(side: Side, days: string[]): number[] {
  const by = new Map(side.firstEligible.map(({ day, users }) => [day, users]));
  let all = 0;
  return days.map((day) => (all += by.get(day) ?? 0));
}

function Table({ head, rows }: { head: string[]; rows: { key: string; values: number[] }[] }) {
  const t = useT();
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("chart.table")}>
      <table>
        <thead>
          <tr>
            {head.map((label, index) => (
              <th key={label} scope="col" className={index > 0 ? "numeric" : undefined}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Bars rows={rows.slice(0, MOST_ROWS).map(({ key, values }) => ({ key, label: key, values, shown: values }))} />
        </tbody>
      </table>
      {rows.length > MOST_ROWS && <p className="hint">{t("chart.more")}</p>}
    </div>
  );
}
