// The plan of a release as it is typed: steps, guard and time of the activation.
import type { Schemas } from "../../api/client";
import { useT } from "../../messages";
import { FormField, FormGroup } from "../../ui/form";
import { Section } from "../../ui/parts";
import { numberOf } from "../../ui/schema-form/schema";

type Plan = Schemas["ReleasePlan"];
type Step = { percent: string; hours: string };
export type Ramp = { steps: Step[]; isGuarded: boolean; guard: Schemas["ReleaseGuard"] | undefined; activation: "hand" | "approval" | "time"; at: string };

const MOST_STEPS = 16;

export function rampOf(plan: Plan | undefined): Ramp {
  const steps = (plan?.steps ?? []).map(({ permille, seconds }) => ({ percent: String(permille / 10), hours: String(seconds / 3600) }));
  const activation = plan?.activateWhenApproved ? "approval" : plan?.activateAt ? "time" : "hand";
  return { steps, isGuarded: plan === undefined || !!plan.guard, guard: plan?.guard ?? undefined, activation, at: plan?.activateAt ? localOf(plan.activateAt) : "" };
}

/** The wall clock of this browser. */
function localOf(instant: string): string {
  const at = new Date(instant);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** What is no number is sent as it was typed, so that the server says at which field it is wrong. */
export function planOf(ramp: Ramp): Plan {
  const scaled = (typed: string, by: number) => {
    const number = numberOf(typed);
    return (typeof number === "number" ? Math.round(number * by) : number) as number;
  };
  return {
    steps: ramp.steps.map(({ percent, hours }) => ({ permille: scaled(percent, 10), seconds: scaled(hours, 3600) })),
    ...(ramp.isGuarded ? (ramp.guard ? { guard: ramp.guard } : {}) : { guard: null }),
    activateWhenApproved: ramp.activation === "approval",
    activateAt: ramp.activation === "time" && ramp.at !== "" ? new Date(ramp.at).toISOString() : null,
  };
}

export function RampPart({ ramp, change }: { ramp: Ramp; change: (ramp: Ramp) => void }) {
  const t = useT();
  const put = (index: number, part: Partial<Step>) => change({ ...ramp, steps: ramp.steps.map((step, at) => (at === index ? { ...step, ...part } : step)) });
  return (
    <Section title={t("release.ramp")}>
      <FormGroup pointer="/plan/steps" label={t("release.steps")} hint={t("release.steps-hint")}>
        {ramp.steps.map((step, index) => (
          <div className="row" key={index}>
            <FormField pointer={`/plan/steps/${index}/permille`} label={t("release.step-share", { number: index + 1 })}>
              {(props) => <input {...props} className="short" inputMode="decimal" value={step.percent} onChange={(event) => put(index, { percent: event.target.value })} />}
            </FormField>
            <FormField pointer={`/plan/steps/${index}/seconds`} label={t("release.step-hours", { number: index + 1 })}>
              {(props) => <input {...props} className="short" inputMode="decimal" value={step.hours} onChange={(event) => put(index, { hours: event.target.value })} />}
            </FormField>
            <button type="button" onClick={() => change({ ...ramp, steps: ramp.steps.filter((_, at) => at !== index) })}>
              {t("form.remove", { name: t("release.step", { number: index + 1 }) })}
            </button>
          </div>
        ))}
        <div className="actions">
          <button type="button" disabled={ramp.steps.length >= MOST_STEPS} onClick={() => change({ ...ramp, steps: [...ramp.steps, { percent: "", hours: "24" }] })}>
            {t("release.add-step")}
          </button>
          {ramp.steps.length === 0 && (
            <button type="button" onClick={() => change({ ...ramp, steps: ["0", "10", "50"].map((percent) => ({ percent, hours: "24" })) })}>
              {t("release.usual-steps")}
            </button>
          )}
        </div>
      </FormGroup>
      {ramp.steps.length > 0 && (
        <label className="check">
          <input type="checkbox" checked={ramp.isGuarded} onChange={(event) => change({ ...ramp, isGuarded: event.target.checked })} />
          {t("release.guarded")}
        </label>
      )}
      <div className="filters">
        <FormField pointer="/plan/activateWhenApproved" label={t("release.activation")}>
          {(props) => (
            <select {...props} value={ramp.activation} onChange={(event) => change({ ...ramp, activation: event.target.value as Ramp["activation"] })}>
              <option value="hand">{t("release.by-hand")}</option>
              <option value="approval">{t("release.when-approved")}</option>
              <option value="time">{t("release.at-time")}</option>
            </select>
          )}
        </FormField>
        {ramp.activation === "time" && (
          <FormField pointer="/plan/activateAt" label={t("release.activate-at")}>
            {(props) => <input {...props} type="datetime-local" step="1" value={ramp.at} onChange={(event) => change({ ...ramp, at: event.target.value })} />}
          </FormField>
        )}
      </div>
    </Section>
  );
}
