// The form of a proposal: the new condition or terms of an event, why, the evidence, and the ramp. Also the edit of one.
import { type FormEvent, useCallback, useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, navigate, to, useRoute } from "../../router";
import { useMay } from "../../session";
import { Load, problemFrom, useAction, useData } from "../../ui/data";
import { ErrorSummary, Errors, type FieldError, FormField } from "../../ui/form";
import { Empty, Field, Page, ProblemBox, Section } from "../../ui/parts";
import { ConditionPart } from "../event-editor/condition";
import { canonical } from "../event-editor/conflict";
import { type Draft, bodyOf, contentOf, draftOf, missing } from "../event-editor/draft";
import { useWarning } from "../event-editor/kept";
import { PlanPart, isTyped, placed, usePlan } from "../event-editor/plan";
import { RewardsPart } from "../event-editor/rewards";
import { LimitsPart, PeriodPart, TextsPart } from "../event-editor/terms";
import { rewardLabel } from "../rewards";
import { type Ramp, RampPart, planOf, rampOf } from "./ramp-part";

type Release = Schemas["Release"];
type Stored = Schemas["Event"];
type Source = { event: Stored; release: Release | undefined; tried: Schemas["BacktestCondition"] | undefined };

export default function Proposal() {
  const t = useT();
  const may = useMay();
  const { parts, query } = useRoute();
  const id = parts[1] === "new" ? undefined : parts[1];
  const eventId = query.get("event") ?? "";
  const backtestId = query.get("backtest") ?? "";
  const read = useData(`propose ${id} ${eventId} ${backtestId}`, async (): Promise<Source | null> => {
    const release = id === undefined ? undefined : await ok(api.GET("/releases/{id}", { params: { path: { id } } }));
    const from = release?.eventId ?? eventId;
    if (from === "") return null;
    const [event, backtest] = await Promise.all([
      ok(api.GET("/events/{id}", { params: { path: { id: from } } })),
      release === undefined && backtestId !== "" ? ok(api.GET("/backtests/{id}", { params: { path: { id: backtestId } } })) : undefined,
    ]);
    return { event, release, tried: backtest?.candidate };
  });
  if (!may("releases:write")) return <Page title={t("no-screen")}><Empty>{t("no-screen-hint")}</Empty></Page>;
  return (
    <Load from={read}>
      {(source) => (source === null ? <ChooseEvent /> : <Form key={`${source.event.id} ${source.release?.revision}`} source={source} backtest={backtestId} again={read.reload} />)}
    </Load>
  );
}

/** The events that are active or not over, by a page; others are found by their id. */
function ChooseEvent() {
  const t = useT();
  const events = useData("events to propose", () => ok(api.GET("/events", { params: { query: { pageSize: 50 } } })));
  return (
    <Page title={t("release.propose")} actions={<Link to="/releases">{t("cancel")}</Link>}>
      <p>{t("release.choose-event")}</p>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          const id = String(new FormData(event.currentTarget).get("event") ?? "").trim();
          if (id !== "") navigate(to(["releases", "new"], { event: id }));
        }}
      >
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" required placeholder="UUID" />}</Field>
        <button type="submit">{t("proof.submit")}</button>
      </form>
      <Load from={events}>
        {({ items }) => (
          <ul className="rows">
            {items.map((event) => (
              <li key={event.id}>
                <Link to={to(["releases", "new"], { event: event.id })}>{event.title}</Link>
              </li>
            ))}
          </ul>
        )}
      </Load>
    </Page>
  );
}

/** The pointers of a proposal are those of the editor of events, but for its own title. */
function atFields(errors: FieldError[]): FieldError[] {
  const mine = errors.map(({ pointer, message }) => ({ pointer: pointer === "/title" ? "/release/title" : pointer.replace(/^\/event(?=\/)/, ""), message }));
  return placed(mine);
}

function Form({ source, backtest, again }: { source: Source; backtest: string; again: () => void }) {
  const { event, release, tried } = source;
  const t = useT();
  // From a backtest, what is proposed is what it tried.
  const own = tried ? { ...contentOf(event), condition: { plugin: tried.plugin, version: tried.version, params: tried.params } } : contentOf(event);
  const content = release ? (release.event as unknown as Schemas["NewEvent"]) : own;
  const [draft, setDraft] = useState<Draft>(() => draftOf(content));
  const [title, setTitle] = useState(release?.title ?? "");
  const [backtestId, setBacktestId] = useState(release?.backtestId ?? backtest);
  const [ramp, setRamp] = useState<Ramp>(() => rampOf(release?.plan));
  const [isChanged, setIsChanged] = useState(false);
  const [refused, setRefused] = useState<{ errors: FieldError[]; turn: number }>({ errors: [], turn: 0 });
  const [known, setKnown] = useState<Schemas["Reward"][]>([]);
  const action = useAction();
  const live = usePlan(draft);
  useWarning(isChanged);
  const learn = useCallback((reward: Schemas["Reward"]) => setKnown((before) => [...before.filter(({ id }) => id !== reward.id), reward]), []);
  const change = (part: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...part }));
    setIsChanged(true);
  };
  const refuse = (errors: FieldError[]) => setRefused(({ turn }) => ({ errors, turn: turn + 1 }));

  const save = (isDraft: boolean) => {
    const errors = missing(draft, t);
    if (title.trim() === "") errors.unshift({ pointer: "/release/title", message: t("release.need-title") });
    refuse(errors);
    if (errors.length > 0) return;
    void action.run(async () => {
      const next = bodyOf(draft);
      // A change of the condition alone keeps everything else, also what changes before the release is live.
      const onlyCondition = canonical({ ...next, condition: null }) === canonical({ ...bodyOf(draftOf(contentOf(event))), condition: null });
      const body = {
        eventId: event.id, eventRevision: event.revision, title: title.trim(), plan: planOf(ramp),
        backtestId: backtestId.trim() === "" ? null : backtestId.trim(),
        ...(onlyCondition ? { condition: next.condition } : { event: next }),
        draft: isDraft,
      };
      try {
        const saved = release
          ? await ok(api.PUT("/releases/{id}", { params: { path: { id: release.id }, header: { "If-Match": `"${release.revision}"` } }, body }))
          : await ok(api.POST("/releases", { body }));
        setIsChanged(false);
        navigate(to(["releases", saved.id]));
      } catch (error) {
        const problem = problemFrom(error);
        if (problem.errors?.length) refuse(atFields(problem.errors));
        else throw error;
      }
    });
  };
  const typed = live.errors.filter(({ pointer }) => isTyped(draft.params, pointer));
  const names = known.filter(({ id }) => draft.rewardIds.includes(id)).map((reward) => ({ value: reward.id, label: rewardLabel(reward) }));
  const started = Date.parse(event.startDate) <= Date.now();
  const back = release ? to(["releases", release.id]) : to(["events", event.id]);
  const moved = action.problem?.code === "release-changed" || action.problem?.code === "event-changed";
  return (
    <Page title={release ? t("editor.edit", { title: release.title }) : t("release.propose-for", { title: event.title })} actions={<Link to={back}>{t("cancel")}</Link>}>
      {release && release.eventRevision !== event.revision && <p className="notice">{t("release.rebase", { from: release.eventRevision, to: event.revision })}</p>}
      <Errors value={[...refused.errors, ...typed]}>
        <form
          className="editor"
          noValidate
          onSubmit={(submitted: FormEvent) => {
            submitted.preventDefault();
            save(release?.state === "DRAFT");
          }}
        >
          <ErrorSummary errors={refused.errors} turn={refused.turn} />
          <Section title={t("release.what")}>
            <FormField pointer="/release/title" label={t("release.title")} hint={t("release.title-hint")} required>
              {(props) => (
                <input
                  {...props}
                  maxLength={200}
                  value={title}
                  onChange={(typedTitle) => {
                    setTitle(typedTitle.target.value);
                    setIsChanged(true);
                  }}
                />
              )}
            </FormField>
            <label className="check">
              <input type="checkbox" checked={draft.isActive} onChange={(ticked) => change({ isActive: ticked.target.checked })} />
              {t("release.is-active")}
            </label>
          </Section>
          <ConditionPart draft={draft} change={change} names={names} />
          <PlanPart live={live} draft={draft} />
          <details className="card">
            <summary>{t("release.terms")}</summary>
            <TextsPart draft={draft} change={change} />
            <RewardsPart draft={draft} change={change} known={known} learn={learn} />
            <PeriodPart draft={draft} change={change} started={started} />
            <LimitsPart draft={draft} change={change} />
          </details>
          <EvidencePart event={event} draft={draft} value={backtestId} set={setBacktestId} />
          <RampPart ramp={ramp} change={setRamp} />
          {action.problem && <ProblemBox problem={action.problem} />}
          {moved && (
            <p className="notice">
              {t("release.moved")}{" "}
              <button type="button" onClick={again}>
                {t("release.load")}
              </button>
            </p>
          )}
          <div className="actions">
            <button type="submit" className="primary" disabled={action.busy}>
              {release ? t("save") : t("release.submit")}
            </button>
            {!release && (
              <button type="button" disabled={action.busy} onClick={() => save(true)}>
                {t("release.save-draft")}
              </button>
            )}
            <Link to={back}>{t("cancel")}</Link>
          </div>
          <p className="hint">{release ? t("release.edit-hint") : t("release.propose-hint")}</p>
        </form>
      </Errors>
    </Page>
  );
}

/** The finished backtests of the event that asked about exactly this condition. */
function EvidencePart({ event, draft, value, set }: { event: Stored; draft: Draft; value: string; set: (id: string) => void }) {
  const t = useT();
  const done = useData(`backtests ${event.id}`, () => ok(api.GET("/backtests", { params: { query: { eventId: event.id, state: "DONE", pageSize: 50 } } })));
  const fits = ({ candidate }: Schemas["Backtest"]) => candidate.plugin === draft.plugin && candidate.version === draft.version && canonical(candidate.params) === canonical(draft.params);
  const found = done.data?.items.filter(fits) ?? [];
  const isListed = value === "" || found.some(({ id }) => id === value);
  return (
    <Section title={t("release.evidence")} actions={<Link to={to(["backtests", "new"], { event: event.id })}>{t("backtest.new")}</Link>}>
      <FormField pointer="/backtestId" label={t("release.backtest")} hint={t("release.backtest-hint")}>
        {(props) => (
          <select {...props} value={value} onChange={(chosen) => set(chosen.target.value)}>
            <option value="">{t("release.none")}</option>
            {!isListed && <option value={value}>{value}</option>}
            {found.map((backtest) => (
              <option key={backtest.id} value={backtest.id}>
                {`${backtest.from.slice(0, 10)} – ${backtest.to.slice(0, 10)} · …${backtest.id.slice(-8)}`}
              </option>
            ))}
          </select>
        )}
      </FormField>
      {!isListed && <p className="hint">{t("release.other-backtest")}</p>}
      {done.problem && <ProblemBox problem={done.problem} retry={done.reload} />}
    </Section>
  );
}
