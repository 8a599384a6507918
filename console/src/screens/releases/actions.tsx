// What the role may do with a release in its state. A text that says why is part of the history.
import { useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { type Key, useT } from "../../messages";
import { useMay, useUser } from "../../session";
import { Dialog, Field, ProblemBox } from "../../ui/parts";
import type { Change } from "./page";

type Release = Schemas["Release"];
type State = Release["state"];
type Because = "rejection" | "hold" | "resumption" | "rollback" | "withdrawal";

/** Actions that need a reason: the scope, the states, and whether the authors must not do it. */
const BECAUSE: Record<Because, { label: Key; hint: Key; scope: string; states: State[]; others?: true; danger?: true }> = {
  rejection: { label: "release.reject", hint: "release.reject-hint", scope: "releases:approve", states: ["REVIEW"] },
  hold: { label: "release.hold", hint: "release.hold-hint", scope: "releases:write", states: ["RAMPING"] },
  resumption: { label: "release.resume", hint: "release.resume-hint", scope: "releases:approve", states: ["HELD"], others: true },
  rollback: { label: "release.roll-back", hint: "release.roll-back-hint", scope: "releases:write", states: ["RAMPING", "HELD", "LIVE"], danger: true },
  withdrawal: { label: "release.withdraw", hint: "release.withdraw-hint", scope: "releases:write", states: ["DRAFT", "REVIEW", "APPROVED"], danger: true },
};

function send(id: string, what: Because, reason: string): Promise<unknown> {
  const options = { params: { path: { id } }, body: { reason } };
  switch (what) {
    case "rejection":
      return ok(api.POST("/releases/{id}/rejection", options));
    case "hold":
      return ok(api.POST("/releases/{id}/hold", options));
    case "resumption":
      return ok(api.POST("/releases/{id}/resumption", options));
    case "rollback":
      return ok(api.POST("/releases/{id}/rollback", options));
    case "withdrawal":
      return ok(api.POST("/releases/{id}/withdrawal", options));
  }
}

export function Actions({ release, change }: { release: Release; change: Change }) {
  const t = useT();
  const may = useMay();
  const me = useUser().id;
  const [asked, setAsked] = useState<Because>();
  const { id, state, authors } = release;
  const isMine = authors.includes(me);
  const offered = (Object.keys(BECAUSE) as Because[]).filter((name) => may(BECAUSE[name].scope) && BECAUSE[name].states.includes(state));
  const path = { params: { path: { id } } };
  const submits = may("releases:write") && state === "DRAFT";
  const activates = may("releases:write") && state === "APPROVED";
  if (offered.length === 0 && !submits && !activates) return null;
  return (
    <>
      <div className="actions">
        {submits && (
          <button type="button" className="primary" disabled={change.busy} onClick={() => void change.run(() => ok(api.POST("/releases/{id}/submission", path)))}>
            {t("release.submit")}
          </button>
        )}
        {activates && (
          <button type="button" className="primary" disabled={change.busy} onClick={() => void change.run(() => ok(api.POST("/releases/{id}/activation", path)))}>
            {release.plan.steps?.length ? t("release.start") : t("release.activate")}
          </button>
        )}
        {offered.map((name) => (
          <button
            type="button"
            key={name}
            className={BECAUSE[name].danger ? "danger" : undefined}
            disabled={change.busy || (BECAUSE[name].others && isMine)}
            onClick={() => setAsked(name)}
          >
            {t(BECAUSE[name].label)}
          </button>
        ))}
      </div>
      {isMine && offered.includes("resumption") && <p className="hint">{t("release.own-resume")}</p>}
      {asked && (
        <Why
          label={t(BECAUSE[asked].label)}
          hint={t(BECAUSE[asked].hint)}
          change={change}
          close={() => setAsked(undefined)}
          send={(reason) => send(id, asked, reason)}
        />
      )}
    </>
  );
}

/** Asks for a reason. The dialog stays, with what was typed, until the server has accepted it. */
export function Why({ label, hint, change, close, send }: { label: string; hint: string; change: Change; close: () => void; send: (reason: string) => Promise<unknown> }) {
  const t = useT();
  const [reason, setReason] = useState("");
  const [isTried, setIsTried] = useState(false);
  const submit = async () => {
    setIsTried(true);
    if (await change.run(() => send(reason.trim()))) close();
  };
  return (
    <Dialog title={label} close={close}>
      <form
        className="narrow"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <p>{hint}</p>
        <Field label={t("release.why")} hint={t("release.why-hint")}>
          {(id) => <textarea id={id} required maxLength={2000} rows={3} value={reason} onChange={(event) => setReason(event.target.value)} />}
        </Field>
        {isTried && change.problem && <ProblemBox problem={change.problem} />}
        <button type="submit" className="primary" disabled={change.busy || reason.trim() === ""}>
          {label}
        </button>
      </form>
    </Dialog>
  );
}
