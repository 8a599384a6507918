// The editor of events: new, as a copy of another one, or a change.
import { type FormEvent, useCallback, useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, navigate, to, useRoute } from "../../router";
import { useMay } from "../../session";
import { Load, problemFrom, useAction, useData } from "../../ui/data";
import { ErrorSummary, Errors, type FieldError } from "../../ui/form";
import { Empty, Page, ProblemBox } from "../../ui/parts";
import { rewardLabel } from "../rewards";
import { ConditionPart } from "./condition";
import { Conflict } from "./conflict";
import { type Draft, EMPTY, bodyOf, contentOf, draftOf, isAbout, missing } from "./draft";
import { type Base, useKept, useWarning } from "./kept";
import { PlanPart, PreviewPart, isTyped, placed, usePlan } from "./plan";
import { RewardsPart } from "./rewards";
import { LimitsPart, PeriodPart, TextsPart } from "./terms";

type Stored = Schemas["Event"];

export default function EventEditor() {
  const t = useT();
  const may = useMay();
  const { parts, query } = useRoute();
  const id = parts[1] === "new" ? undefined : parts[1];
  const from = id ?? query.get("from") ?? undefined;
  const read = useData(`edit ${from}`, async () => (from === undefined ? null : ok(api.GET("/events/{id}", { params: { path: { id: from } } }))));
  if (!may("events:write")) return <Page title={t("no-screen")}><Empty>{t("no-screen-hint")}</Empty></Page>;
  return (
    <Load from={read}>
      {(event) => {
        if (event && id !== undefined) return <Editor key={id} form={id} stored={event} begin={draftOf(contentOf(event))} />;
        const copy = event && { ...draftOf(contentOf(event)), title: t("editor.copy-of", { title: event.title }), name: "", isActive: false };
        return <Editor key={`new ${from}`} form={`new ${from ?? ""}`} stored={undefined} begin={copy ?? EMPTY} />;
      }}
    </Load>
  );
}

function baseOf(event: Stored): Base {
  return { content: contentOf(event), revision: event.revision };
}

function Editor({ form, stored, begin }: { form: string; stored: Stored | undefined; begin: Draft }) {
  const t = useT();
  const { kept, keep, forget } = useKept(form);
  const [draft, setDraft] = useState(kept?.draft ?? begin);
  // A draft that was kept belongs to the revision that it was made from.
  const [base, setBase] = useState<Base | undefined>(kept?.base ?? (stored && baseOf(stored)));
  const [isKept, setIsKept] = useState(kept !== undefined);
  const [isChanged, setIsChanged] = useState(kept !== undefined);
  const [refused, setRefused] = useState<{ errors: FieldError[]; turn: number }>({ errors: [], turn: 0 });
  const [theirs, setTheirs] = useState<Stored>();
  const [known, setKnown] = useState<Schemas["Reward"][]>([]);
  const action = useAction();
  const live = usePlan(draft);
  useWarning(isChanged);
  const learn = useCallback((reward: Schemas["Reward"]) => setKnown((before) => [...before.filter(({ id }) => id !== reward.id), reward]), []);

  const put = (next: Draft) => {
    setDraft(next);
    setIsChanged(true);
    keep({ draft: next, base });
  };
  const change = (part: Partial<Draft>) => {
    put({ ...draft, ...part });
    const members = Object.keys(part) as (keyof Draft)[];
    setRefused(({ errors, turn }) => ({ errors: errors.filter((error) => !members.some((member) => isAbout(error, member))), turn }));
  };
  const refuse = (errors: FieldError[]) => setRefused(({ turn }) => ({ errors, turn: turn + 1 }));
  const save = (next: Draft, revision: number | undefined, acceptSlowReads = false) => {
    const errors = missing(next, t);
    if (errors.length > 0) return refuse(errors);
    refuse([]);
    return void action.run(async () => {
      const body = { ...bodyOf(next), ...(acceptSlowReads ? { acceptSlowReads } : {}) };
      try {
        const saved =
          stored === undefined
            ? await ok(api.POST("/events", { body }))
            : await ok(api.PUT("/events/{id}", { params: { path: { id: stored.id }, header: { "If-Match": `"${revision}"` } }, body }));
        forget();
        setIsChanged(false);
        navigate(to(["events", saved.id]));
      } catch (error) {
        const problem = problemFrom(error);
        // What is asked next is about what was sent, which may have switched the event on or off. Other members may have been typed since.
        if (problem.code === "event-changed" || problem.code === "facts-not-ready") setDraft((now) => ({ ...now, isActive: next.isActive }));
        if (problem.code === "event-changed" && stored) setTheirs(await ok(api.GET("/events/{id}", { params: { path: { id: stored.id } } })));
        else if (problem.errors?.length) refuse(placed(problem.errors));
        else throw error;
      }
    });
  };
  const settle = (content: Schemas["NewEvent"], saveNow: boolean) => {
    if (!theirs) return;
    const next = draftOf(content);
    setBase(baseOf(theirs));
    setTheirs(undefined);
    setDraft(next);
    setIsChanged(true);
    keep({ draft: next, base: baseOf(theirs) });
    if (saveNow) save(next, theirs.revision);
  };
  const discard = () => {
    forget();
    setDraft(begin);
    setBase(stored && baseOf(stored));
    setRefused({ errors: [], turn: 0 });
    setIsKept(false);
    setIsChanged(false);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save(draft, base?.revision);
  };
  // What is wrong with what is typed, before it is sent; and what the server refused.
  const typed = live.errors.filter(({ pointer }) => isTyped(draft.params, pointer));
  const shown = [...refused.errors, ...typed.filter((error) => !refused.errors.some(({ pointer, message }) => pointer === error.pointer && message === error.message))];
  const started = stored !== undefined && Date.parse(stored.startDate) <= Date.now();
  const names = known.filter(({ id }) => draft.rewardIds.includes(id)).map((reward) => ({ value: reward.id, label: rewardLabel(reward) }));
  const switched = { ...draft, isActive: !draft.isActive };
  return (
    <Page
      title={stored ? t("editor.edit", { title: stored.title }) : t("editor.new")}
      actions={<Link to={stored ? to(["events", stored.id]) : "/events"}>{t("cancel")}</Link>}
    >
      {isKept && (
        <p className="notice" role="status">
          {t("editor.kept")}{" "}
          <button type="button" onClick={discard}>
            {t("editor.discard")}
          </button>
        </p>
      )}
      {theirs && base && (
        <Conflict key={theirs.revision} event={theirs} base={base.content} mine={bodyOf(draft)} theirs={contentOf(theirs)} done={settle} />
      )}
      <Errors value={shown}>
        <form className="editor" noValidate onSubmit={submit}>
          <ErrorSummary errors={refused.errors} turn={refused.turn} />
          <TextsPart draft={draft} change={change} />
          <ConditionPart draft={draft} change={change} names={names} />
          <PlanPart live={live} draft={draft} />
          <RewardsPart draft={draft} change={change} known={known} learn={learn} />
          <PeriodPart draft={draft} change={change} started={started} />
          <LimitsPart draft={draft} change={change} />
          <PreviewPart draft={draft} eventId={stored?.id} rewards={known} />
          {action.problem && <ProblemBox problem={action.problem} />}
          {action.problem?.code === "facts-not-ready" && (
            <button type="button" disabled={action.busy} onClick={() => save(draft, base?.revision, true)}>
              {t("editor.slow")}
            </button>
          )}
          <div className="actions">
            <button type="submit" className="primary" disabled={action.busy || theirs !== undefined}>
              {draft.isActive ? t("editor.save-active") : t("editor.save-draft")}
            </button>
            <button type="button" disabled={action.busy || theirs !== undefined} onClick={() => save(switched, base?.revision)}>
              {draft.isActive ? t("editor.save-deactivated") : t("editor.save-activated")}
            </button>
            <Link to={stored ? to(["events", stored.id]) : "/events"}>{t("cancel")}</Link>
          </div>
          <p className="hint">{t("editor.save-hint")}</p>
        </form>
      </Errors>
    </Page>
  );
}
