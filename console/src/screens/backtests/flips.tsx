// Whom the two conditions treat differently: in each direction the reasons, and example users with the instant to ask why.
import { useT, useValue } from "../../messages";
import { Link, to, useFilters } from "../../router";
import { Empty, Facts, Id, Section, Time } from "../../ui/parts";
import { type Answer, type Example, FLIPS, type FlipName, type Report } from "./document";
import { Rows } from "./report";

export function Flips({ report }: { report: Report }) {
  const t = useT();
  const v = useValue();
  const [{ flip: wanted }, setFilters] = useFilters(["flip"]);
  const name: FlipName = FLIPS.find((known) => known === wanted) ?? "gained";
  const flip = report.flips[name];
  return (
    <Section title={t("backtest.flips")}>
      <div className="tabs">
        {FLIPS.map((known) => (
          <button type="button" key={known} aria-pressed={known === name} onClick={() => setFilters({ flip: known })}>
            {t("backtest.flip", { name: v("flip", known), users: report.flips[known].users })}
          </button>
        ))}
      </div>
      <p className="hint">{v("flip-hint", name)}</p>
      <Facts items={[["backtest.flip-users", flip.users], ["backtest.grants", flip.grants], ["backtest.value", flip.value]]} />
      {flip.reasons.length > 0 && (
        <>
          <h3>{t("backtest.before-after")}</h3>
          <Rows of={flip.reasons.map(({ reason, count }) => [reason, count])} label={t("backtest.before-after")} />
        </>
      )}
      <h3>{t("backtest.examples", { shown: flip.examples.length, users: flip.users })}</h3>
      <Examples of={flip.examples} event={report.header.event.id} />
    </Section>
  );
}

export function Examples({ of, event }: { of: Example[]; event: string }) {
  const t = useT();
  if (of.length === 0) return <Empty>{t("home.nothing")}</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("backtest.flips")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("claim.user")}</th>
            <th scope="col">{t("why.at-label")}</th>
            <th scope="col">{t("backtest.claimed")}</th>
            <th scope="col">{t("backtest.baseline")}</th>
            <th scope="col">{t("backtest.candidate")}</th>
            <th scope="col">{t("nav.why")}</th>
          </tr>
        </thead>
        <tbody>
          {of.map((example) => (
            <tr key={example.userId + example.asOf}>
              <td>
                <Id id={example.userId} to={to(["users", example.userId])} />
              </td>
              <td>
                <Time at={example.asOf} />
              </td>
              <td>{example.claimed ? t("yes") : t("no")}</td>
              <td>
                <Said answer={example.before} />
              </td>
              <td>
                <Said answer={example.after} />
              </td>
              <td>
                <Link to={to(["why"], { user: example.userId, event, at: example.asOf, known: "then" })}>{t("why.ask")}</Link>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Said({ answer }: { answer: Answer }) {
  const v = useValue();
  return (
    <>
      {v("status", answer.status)}
      <ul className="reasons">
        {answer.reasons.map((reason) => {
          const known = reason.source === "HOST" ? v("reason", reason.code) : reason.code;
          return (
            <li key={reason.code + reason.message}>
              {known === reason.code ? reason.message : known} <code>{reason.code}</code>
            </li>
          );
        })}
      </ul>
    </>
  );
}
