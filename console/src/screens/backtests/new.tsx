// A backtest to start: the event, the condition to try, what it is compared with, and the period.
import { useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, navigate, to, useRoute } from "../../router";
import { useMay } from "../../session";
import { Load, problemFrom, useAction, useData } from "../../ui/data";
import { ErrorSummary, Errors, type FieldError, FormField } from "../../ui/form";
import { Empty, Field, Page, ProblemBox, Section } from "../../ui/parts";
import { numberOf } from "../../ui/schema-form/schema";
import { ConditionPart } from "../event-editor/condition";
import { type Draft, contentOf, draftOf } from "../event-editor/draft";
import { isTyped, placed, usePlan } from "../event-editor/plan";

type Stored = Schemas["Event"];

export default function NewBacktest() {
  const t = useT();
  const may = useMay();
  const eventId = useRoute().query.get("event") ?? "";
  const read = useData(`backtest for ${eventId}`, async () => (eventId === "" ? null : ok(api.GET("/events/{id}", { params: { path: { id: eventId } } }))));
  if (!may("backtests:write")) return <Page title={t("no-screen")}><Empty>{t("no-screen-hint")}</Empty></Page>;
  return <Load from={read}>{(event) => (event === null ? <Choose /> : <Form key={event.id} event={event} />)}</Load>;
}

function Choose() {
  const t = useT();
  return (
    <Page title={t("backtest.new")} actions={<Link to="/backtests">{t("cancel")}</Link>}>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          const id = String(new FormData(event.currentTarget).get("event") ?? "").trim();
          if (id !== "") navigate(to(["backtests", "new"], { event: id }));
        }}
      >
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" required placeholder="UUID" />}</Field>
        <button type="submit">{t("proof.submit")}</button>
      </form>
      <p className="hint">{t("backtest.choose-event")}</p>
    </Page>
  );
}

/** The pointers of a backtest are those of the editor for its candidate. */
function atFields(errors: FieldError[]): FieldError[] {
  return placed(errors.map(({ pointer, message }) => ({ pointer: pointer.replace(/^\/candidate(?=\/|$)/, "/condition"), message })));
}

function Form({ event }: { event: Stored }) {
  const t = useT();
  const [draft, setDraft] = useState<Draft>(() => draftOf(contentOf(event)));
  const [period, setPeriod] = useState({ from: "", to: "" });
  const [population, setPopulation] = useState<Schemas["BacktestPopulation"]>("ALL");
  const [sample, setSample] = useState("");
  const [baseline, setBaseline] = useState({ plugin: "", version: "", params: "" });
  const [refused, setRefused] = useState<{ errors: FieldError[]; turn: number }>({ errors: [], turn: 0 });
  const action = useAction();
  const live = usePlan(draft);
  const refuse = (errors: FieldError[]) => setRefused(({ turn }) => ({ errors, turn: turn + 1 }));
  const instant = (wall: string) => (wall === "" ? {} : new Date(wall).toISOString());
  const start = () =>
    void action.run(async () => {
      refuse([]);
      let other: Schemas["NewCondition"] | undefined;
      if (baseline.plugin.trim() !== "") {
        try {
          const params = JSON.parse(baseline.params.trim() === "" ? "{}" : baseline.params) as Record<string, never>;
          other = { plugin: baseline.plugin.trim(), version: baseline.version.trim(), params };
        } catch (error) {
          return refuse([{ pointer: "/baseline/params", message: t("form.no-json", { fault: String(error) }) }]);
        }
      }
      const { plugin, version, params } = draft;
      try {
        const made = await ok(
          api.POST("/backtests", {
            body: {
              eventId: event.id, population,
              candidate: { plugin, version, params: params as Record<string, never> },
              ...(other ? { baseline: other } : {}),
              ...(period.from === "" ? {} : { from: instant(period.from) as string }),
              ...(period.to === "" ? {} : { to: instant(period.to) as string }),
              ...(sample.trim() === "" ? {} : { sample: numberOf(sample) as number }),
            },
          }),
        );
        navigate(to(["backtests", made.id]));
      } catch (error) {
        const problem = problemFrom(error);
        if (!problem.errors?.length) throw error;
        refuse(atFields(problem.errors));
      }
    });
  const typed = live.errors.filter(({ pointer }) => isTyped(draft.params, pointer));
  return (
    <Page title={t("backtest.new-for", { title: event.title })} actions={<Link to={to(["events", event.id])}>{t("cancel")}</Link>}>
      <Errors value={[...refused.errors, ...typed]}>
        <form
          className="editor"
          noValidate
          onSubmit={(submitted) => {
            submitted.preventDefault();
            start();
          }}
        >
          <ErrorSummary errors={refused.errors} turn={refused.turn} />
          <p>{t("backtest.hint")}</p>
          <ConditionPart draft={draft} change={(part) => setDraft((before) => ({ ...before, ...part }))} names={[]} />
          <Section title={t("backtest.about")}>
            <div className="filters">
              <FormField pointer="/from" label={t("from")} hint={t("backtest.from-hint")}>
                {(props) => <input {...props} type="datetime-local" value={period.from} onChange={(change) => setPeriod({ ...period, from: change.target.value })} />}
              </FormField>
              <FormField pointer="/to" label={t("until")} hint={t("backtest.to-hint")}>
                {(props) => <input {...props} type="datetime-local" value={period.to} onChange={(change) => setPeriod({ ...period, to: change.target.value })} />}
              </FormField>
            </div>
            <FormField pointer="/population" label={t("backtest.population")}>
              {(props) => (
                <select {...props} value={population} onChange={(change) => setPopulation(change.target.value as typeof population)}>
                  <option value="ALL">{t("population.ALL")}</option>
                  <option value="CLAIMANTS">{t("population.CLAIMANTS")}</option>
                </select>
              )}
            </FormField>
            <FormField pointer="/sample" label={t("backtest.sample")} hint={t("backtest.sample-hint")}>
              {(props) => <input {...props} className="short" inputMode="numeric" value={sample} onChange={(change) => setSample(change.target.value)} />}
            </FormField>
          </Section>
          <details className="card">
            <summary>{t("backtest.other-baseline")}</summary>
            <p className="hint">{t("backtest.baseline-hint")}</p>
            {(["plugin", "version", "params"] as const).map((name) => (
              <FormField key={name} pointer={`/baseline/${name}`} label={t(name === "plugin" ? "backtest.plugin" : name === "version" ? "plugin.version" : "editor.params")} hint={name === "params" ? t("form.json") : undefined}>
                {(props) => <input {...props} value={baseline[name]} onChange={(change) => setBaseline({ ...baseline, [name]: change.target.value })} />}
              </FormField>
            ))}
          </details>
          {action.problem && <ProblemBox problem={action.problem} />}
          <button type="submit" className="primary" disabled={action.busy}>
            {t("backtest.start")}
          </button>
        </form>
      </Errors>
    </Page>
  );
}
