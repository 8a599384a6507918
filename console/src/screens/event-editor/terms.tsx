// Texts, period and limits of the event.
import { useId } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT, useValue } from "../../messages";
import { useData } from "../../ui/data";
import { FormField, FormGroup } from "../../ui/form";
import { Section, Time } from "../../ui/parts";
import { instantOf, knownZone, knownZones, myZone } from "../../ui/zones";
import type { Draft } from "./draft";

type Props = { draft: Draft; change: (part: Partial<Draft>) => void };
const PERIODS: Schemas["Period"][] = ["ONCE", "DAILY", "WEEKLY", "MONTHLY"];

export function TextsPart({ draft, change }: Props) {
  const t = useT();
  return (
    <Section title={t("editor.texts")}>
      <FormField pointer="/title" label={t("event.title")} required>
        {(props) => <input {...props} autoFocus value={draft.title} onChange={(event) => change({ title: event.target.value })} />}
      </FormField>
      <FormField pointer="/description" label={t("reward.description")}>
        {(props) => <textarea {...props} rows={3} value={draft.description} onChange={(event) => change({ description: event.target.value })} />}
      </FormField>
      <FormField pointer="/name" label={t("name")} hint={t("editor.name-hint")}>
        {(props) => <input {...props} value={draft.name} onChange={(event) => change({ name: event.target.value })} />}
      </FormField>
      <FormField pointer="/tags" label={t("event.tags")} hint={t("editor.tags-hint")}>
        {(props) => <input {...props} value={draft.tags} onChange={(event) => change({ tags: event.target.value })} />}
      </FormField>
    </Section>
  );
}

export function PeriodPart({ draft, change, started }: Props & { started: boolean }) {
  const t = useT();
  const zones = useId();
  return (
    <Section title={t("editor.period")}>
      {started && <p className="hint">{t("editor.started")}</p>}
      <FormField pointer="/timeZone" label={t("editor.zone")} hint={t("editor.zone-hint")}>
        {(props) => (
          <>
            <input {...props} list={zones} value={draft.timeZone} onChange={(event) => change({ timeZone: event.target.value })} />
            <datalist id={zones}>
              {knownZones().map((zone) => (
                <option key={zone} value={zone} />
              ))}
            </datalist>
          </>
        )}
      </FormField>
      <div className="filters">
        {(["start", "end"] as const).map((side) => (
          <FormField
            key={side}
            pointer={`/${side}Date`}
            label={t(side === "start" ? "event.starts" : "event.ends")}
            required
            hint={<InBothZones wall={draft[side]} zone={draft.timeZone} />}
          >
            {(props) => <input {...props} type="datetime-local" step={1} value={draft[side]} onChange={(event) => change(side === "start" ? { start: event.target.value } : { end: event.target.value })} />}
          </FormField>
        ))}
      </div>
    </Section>
  );
}

/** The instant in the zone of the event and in mine. */
function InBothZones({ wall, zone }: { wall: string; zone: string }) {
  const t = useT();
  const at = instantOf(wall, zone);
  if (!knownZone(zone)) return <>{t("editor.zone-unknown", { zone })}</>;
  if (at === undefined) return null;
  return (
    <>
      {t("editor.there")} <Time at={at} zone={zone} />
      <br />
      {t("editor.here")} <Time at={at} zone={myZone()} />
    </>
  );
}

export function LimitsPart({ draft, change }: Props) {
  const t = useT();
  const v = useValue();
  const groups = useId();
  const known = useData("groups", () => ok(api.GET("/event-groups", { params: { query: { pageSize: 200 } } })));
  const periods = PERIODS.map((period) => (
    <option key={period} value={period}>
      {v("period", period)}
    </option>
  ));
  return (
    <Section title={t("editor.limits")}>
      <FormGroup pointer="/recurrence" label={t("event.recurrence")} hint={t("editor.recurrence-hint")}>
        <div className="filters">
          <FormField pointer="/recurrence/count" label={t("editor.count")}>
            {(props) => <input {...props} className="short" inputMode="numeric" value={draft.count} onChange={(event) => change({ count: event.target.value })} />}
          </FormField>
          <FormField pointer="/recurrence/period" label={t("editor.per")}>
            {(props) => (
              <select {...props} value={draft.period} onChange={(event) => change({ period: event.target.value as Schemas["Period"] })}>
                {periods}
              </select>
            )}
          </FormField>
        </div>
      </FormGroup>
      <FormGroup pointer="/budget" label={t("event.budget")} hint={t("editor.budget-hint")}>
        <div className="filters">
          <FormField pointer="/budget/period" label={t("editor.per")}>
            {(props) => (
              <select {...props} value={draft.budgetPeriod} onChange={(event) => change({ budgetPeriod: event.target.value as Draft["budgetPeriod"] })}>
                <option value="">{t("editor.no-budget")}</option>
                {periods}
              </select>
            )}
          </FormField>
          {draft.budgetPeriod !== "" && (
            <>
              <FormField pointer="/budget/grants" label={t("editor.budget-grants")}>
                {(props) => <input {...props} className="short" inputMode="numeric" value={draft.budgetGrants} onChange={(event) => change({ budgetGrants: event.target.value })} />}
              </FormField>
              <FormField pointer="/budget/amount" label={t("editor.budget-amount")}>
                {(props) => <input {...props} className="short" inputMode="numeric" value={draft.budgetAmount} onChange={(event) => change({ budgetAmount: event.target.value })} />}
              </FormField>
            </>
          )}
        </div>
      </FormGroup>
      <FormField pointer="/group" label={t("event.group")} hint={t("editor.group-hint")}>
        {(props) => (
          <>
            <input {...props} list={groups} value={draft.group} onChange={(event) => change({ group: event.target.value })} />
            <datalist id={groups}>
              {known.data?.items.map(({ name }) => (
                <option key={name} value={name} />
              ))}
            </datalist>
          </>
        )}
      </FormField>
      <label className="check">
        <input type="checkbox" checked={draft.respondAsync} onChange={(event) => change({ respondAsync: event.target.checked })} />
        {t("editor.async")}
      </label>
    </Section>
  );
}
