// The login, as a page and over a screen whose session is over; and the proof of identity before a dangerous action.
import { type FormEvent, useState } from "react";
import { api, ok } from "../api/client";
import { useT } from "../messages";
import { type Session, logIn } from "../session";
import { problemFrom, useAction } from "./data";
import { Field, ProblemBox } from "./parts";

export function LoginForm({ session, done }: { session: Session; done: (session: Session) => void }) {
  const t = useT();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const action = useAction();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      try {
        done(await logIn(email, password, code));
      } catch (error) {
        if (problemFrom(error).code !== "second-factor-required") throw error;
        setNeedsCode(true);
      }
    });
  };
  return (
    <form onSubmit={submit} className="narrow">
      {!window.isSecureContext && <p className="problem">{t("login.insecure")}</p>}
      <Field label={t("login.email")}>
        {(id) => <input id={id} type="email" autoComplete="username" required autoFocus value={email} onChange={(e) => setEmail(e.target.value)} />}
      </Field>
      <Field label={t("login.password")}>
        {(id) => <input id={id} type="password" autoComplete="current-password" required value={password} onChange={(e) => setPassword(e.target.value)} />}
      </Field>
      {needsCode && (
        <Field label={t("login.code")} hint={t("login.code-hint")}>
          {(id) => <input id={id} autoComplete="one-time-code" required autoFocus value={code} onChange={(e) => setCode(e.target.value)} />}
        </Field>
      )}
      {action.problem && <ProblemBox problem={action.problem} />}
      <button type="submit" className="primary" disabled={action.busy}>
        {t("login.submit")}
      </button>
      {session.hasIdentityProvider && <a href="/auth/oidc/login?console=true">{t("login.provider")}</a>}
    </form>
  );
}

export function ProofForm({ done, cancel }: { done: () => void; cancel: () => void }) {
  const t = useT();
  const [secret, setSecret] = useState("");
  const [hasFactor, setHasFactor] = useState<boolean>();
  const action = useAction();
  if (hasFactor === undefined && !action.busy && !action.problem) {
    void action.run(async () => setHasFactor((await ok(api.GET("/users/me/totp"))).active));
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      await ok(api.POST("/auth/step-up", { body: hasFactor ? { code: secret.trim() } : { password: secret } }));
      done();
    });
  };
  return (
    <form onSubmit={submit} className="narrow">
      <p>{t("proof.why")}</p>
      <Field label={hasFactor ? t("login.code") : t("login.password")}>
        {(id) => (
          <input
            id={id}
            type={hasFactor ? "text" : "password"}
            autoComplete={hasFactor ? "one-time-code" : "current-password"}
            required
            autoFocus
            value={secret}
            onChange={(e) => setSecret(e.target.value)}
          />
        )}
      </Field>
      {action.problem && <ProblemBox problem={action.problem} />}
      <div className="actions">
        <button type="submit" className="primary" disabled={action.busy}>
          {t("proof.submit")}
        </button>
        <button type="button" onClick={cancel}>
          {t("cancel")}
        </button>
      </div>
    </form>
  );
}
