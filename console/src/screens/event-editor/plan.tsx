// What the server makes of the params while they are typed: the plan in words, or what is wrong; and what the condition would
// decide for a user. Both are simulations, which store nothing.
import { useEffect, useRef, useState } from "react";
import { type Problem, type Schemas, api, ok } from "../../api/client";
import { useT, useValue } from "../../messages";
import { useUser } from "../../session";
import { problemFrom, useAction } from "../../ui/data";
import type { FieldError } from "../../ui/form";
import { Empty, ProblemBox, Section } from "../../ui/parts";
import { PlanWords } from "../../ui/plan";
import { ProgressBars } from "../../ui/reasons";
import { type Json, child, missingMember, partsOf } from "../../ui/schema-form/schema";
import { userFilter } from "../claims";
import { type Draft, dateOf } from "./draft";

const PARAMS = "/condition/params";
/** How long nothing must be typed before the server is asked. */
const PAUSE_MS = 500;

type Simulation = Schemas["Simulation"];
export type Live = { simulation?: Simulation; errors: FieldError[]; problem?: Problem };

/** Errors of the server with the pointers of the editor: those of a simulation begin at its params, and a missing member is named
 *  by its object. */
export function placed(errors: FieldError[], simulated = false): FieldError[] {
  return errors.map(({ pointer, message }) => {
    const own = simulated && (pointer === "/params" || pointer.startsWith("/params/")) ? `/condition${pointer}` : pointer;
    const member = own === PARAMS || own.startsWith(`${PARAMS}/`) ? missingMember(message) : undefined;
    return { pointer: member === undefined ? own : child(own, member), message };
  });
}

/** Whether something is typed at the pointer: what is still empty is not wrong yet. */
export function isTyped(params: Json, pointer: string): boolean {
  let found: Json | undefined = params;
  for (const part of partsOf(pointer.slice(PARAMS.length))) {
    if (typeof found !== "object" || found === null) return false;
    found = Object.hasOwn(found, part) ? (found as { [name: string]: Json })[part] : undefined;
  }
  return found !== undefined && found !== "" && pointer !== PARAMS;
}

function simulationOf(draft: Draft, eventId: string | undefined, rewards: Schemas["Reward"][]) {
  const quantity = Number(draft.maxQuantity) || 1;
  const shown = rewards.filter((reward) => draft.rewardIds.includes(reward.id));
  const [startDate, endDate] = [dateOf(draft.start, draft.timeZone, draft.dates?.startDate), dateOf(draft.end, draft.timeZone, draft.dates?.endDate)];
  return {
    params: draft.params as { [name: string]: unknown },
    timeZone: draft.timeZone,
    ...(eventId === undefined ? {} : { eventId }),
    ...(draft.title.trim() === "" ? {} : { title: draft.title }),
    ...(startDate === "" ? {} : { startDate }),
    ...(endDate === "" ? {} : { endDate }),
    rewards: shown.map(({ id, type, value, stockRemaining }) => ({ id, kind: type, value: value ?? null, maxQuantity: Math.min(quantity, stockRemaining ?? quantity) })),
  };
}

/** Asks the server for the plan of the params, as the user of the console, when the typing pauses. */
export function usePlan(draft: Draft): Live {
  const { id } = useUser();
  const [live, setLive] = useState<Live>({ errors: [] });
  const { plugin, version, params, timeZone } = draft;
  const key = JSON.stringify([plugin, version, params, timeZone]);
  const current = useRef(key);
  current.current = key;
  useEffect(() => {
    if (plugin === "") return undefined;
    const timer = setTimeout(() => {
      const [, , typed, zone] = JSON.parse(key) as [string, string, { [name: string]: unknown }, string];
      const request = api.POST("/plugins/{name}/versions/{version}/simulate", { params: { path: { name: plugin, version } }, body: { params: typed, timeZone: zone, userId: id } });
      ok(request).then(
        (simulation) => current.current === key && setLive({ simulation, errors: [] }),
        (error: unknown) => {
          if (current.current !== key) return;
          const problem = problemFrom(error);
          setLive(problem.errors?.length ? { errors: placed(problem.errors, true) } : { errors: [], problem });
        },
      );
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [key, plugin, version, id]);
  return live;
}

export function PlanPart({ live, draft }: { live: Live; draft: Draft }) {
  const t = useT();
  return (
    <Section title={t("plan.title")}>
      <div aria-live="polite">
        {draft.plugin === "" ? (
          <Empty>{t("plan.pick-first")}</Empty>
        ) : live.problem ? (
          <ProblemBox problem={live.problem} />
        ) : live.errors.length > 0 ? (
          <>
            <p>{t("plan.incomplete")}</p>
            <ul>
              {live.errors.map(({ pointer, message }) => (
                <li key={pointer + message}>
                  <code>{pointer.slice("/condition".length)}</code> {message}
                </li>
              ))}
            </ul>
          </>
        ) : live.simulation ? (
          <>
            <p>{t("plan.asks")}</p>
            <PlanWords queries={live.simulation.queries} zone={draft.timeZone} />
          </>
        ) : (
          <p>{t("loading")}</p>
        )}
      </div>
    </Section>
  );
}

export function PreviewPart({ draft, eventId, rewards }: { draft: Draft; eventId: string | undefined; rewards: Schemas["Reward"][] }) {
  const t = useT();
  const v = useValue();
  const [user, setUser] = useState("");
  const [answer, setAnswer] = useState<Simulation>();
  const action = useAction();
  const ask = () =>
    void action.run(async () => {
      setAnswer(undefined);
      const path = { name: draft.plugin, version: draft.version };
      const body = { ...simulationOf(draft, eventId, rewards), ...userFilter(user.trim()) };
      setAnswer(await ok(api.POST("/plugins/{name}/versions/{version}/simulate", { params: { path }, body })));
    });
  return (
    <Section title={t("preview.title")}>
      <p className="hint">{t("preview.hint")}</p>
      <div className="filters">
        <div className="field">
          <label htmlFor="preview-user">{t("claim.user")}</label>
          <input
            id="preview-user"
            value={user}
            placeholder={t("user.hint")}
            onChange={(event) => setUser(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              if (user.trim() !== "" && draft.plugin !== "") ask();
            }}
          />
        </div>
        <button type="button" disabled={action.busy || user.trim() === "" || draft.plugin === ""} onClick={ask}>
          {t("preview.ask")}
        </button>
      </div>
      <div aria-live="polite">
        {action.problem && <ProblemBox problem={action.problem} />}
        {answer?.failure && <p className="problem">{answer.failure.message}</p>}
        {answer?.decision && (
          <>
            <p className={`verdict ${answer.decision.outcome === "eligible" ? "good" : "calm"}`}>{t("why.condition", { outcome: v("outcome", answer.decision.outcome) })}</p>
            <ul className="reasons">
              {answer.decision.reasons.map((reason) => (
                <li key={reason.code + reason.message}>
                  {reason.message} <code>{reason.code}</code>
                </li>
              ))}
            </ul>
            <ProgressBars progress={answer.decision.progress} />
          </>
        )}
        {answer && <PlanWords queries={answer.queries} facts={answer.facts} zone={draft.timeZone} />}
      </div>
    </Section>
  );
}
