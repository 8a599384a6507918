// My account (password, second factor, sessions), the members, and the keys of programs and of authors of plugins.
import { type FormEvent, useState } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT } from "../messages";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Copy, Dialog, Facts, Field, Id, Page, ProblemBox, Section, Time } from "../ui/parts";
import { Members, Signers } from "./settings-access";

export default function Settings() {
  const t = useT();
  const may = useMay();
  return (
    <Page title={t("nav.settings")}>
      <Account />
      <SecondFactor />
      <Sessions />
      {may("users:read") && <Members />}
      {may("service-keys:read") && <ServiceKeys />}
      {may("plugin-keys:read") && <Signers />}
    </Page>
  );
}

function Account() {
  const t = useT();
  const me = useData("me", () => ok(api.GET("/users/me")));
  const [old, setOld] = useState("");
  const [next, setNext] = useState("");
  const [done, setDone] = useState(false);
  const action = useAction();
  const save = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      await ok(api.PUT("/users/me/password", { body: { oldPassword: old, newPassword: next } }));
      setOld("");
      setNext("");
      setDone(true);
    });
  };
  return (
    <Section title={t("account.title")}>
      <Load from={me}>{(user) => <Facts items={[["login.email", user.email], ["user.id", <code className="wrap">{user.id}</code>], ["created", <Time at={user.createdAt} />]]} />}</Load>
      <form onSubmit={save} className="narrow">
        <Field label={t("account.old-password")}>{(id) => <input id={id} type="password" autoComplete="current-password" required value={old} onChange={(event) => setOld(event.target.value)} />}</Field>
        <Field label={t("account.new-password")}>{(id) => <input id={id} type="password" autoComplete="new-password" minLength={8} required value={next} onChange={(event) => setNext(event.target.value)} />}</Field>
        {action.problem && <ProblemBox problem={action.problem} />}
        {done && <p role="status">{t("account.password-changed")}</p>}
        <button type="submit" disabled={action.busy}>
          {t("account.change-password")}
        </button>
      </form>
    </Section>
  );
}

function SecondFactor() {
  const t = useT();
  const factor = useData("totp", () => ok(api.GET("/users/me/totp")));
  const [enrolment, setEnrolment] = useState<Schemas["Enrolment"]>();
  const [codes, setCodes] = useState<string[]>();
  const [code, setCode] = useState("");
  const action = useAction();
  const begin = () => void action.run(async () => setEnrolment(await ok(api.POST("/users/me/totp"))));
  const confirm = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      const { recoveryCodes } = await ok(api.POST("/users/me/totp/confirmation", { body: { code: code.trim() } }));
      setCodes(recoveryCodes);
      setEnrolment(undefined);
      setCode("");
      factor.reload();
    });
  };
  const renew = () => void action.run(async () => setCodes((await ok(api.POST("/users/me/recovery-codes"))).recoveryCodes));
  const remove = () =>
    void action.run(async () => {
      await ok(api.DELETE("/users/me/totp"));
      factor.reload();
    });
  return (
    <Section title={t("factor.title")}>
      <Load from={factor}>
        {({ active, confirmedAt, recoveryCodesLeft }) =>
          active ? (
            <>
              <Facts items={[["factor.since", <Time at={confirmedAt} />], ["factor.codes-left", recoveryCodesLeft]]} />
              <div className="actions">
                <button type="button" disabled={action.busy} onClick={renew}>
                  {t("factor.renew")}
                </button>
                <button type="button" className="danger" disabled={action.busy} onClick={remove}>
                  {t("factor.remove")}
                </button>
              </div>
            </>
          ) : (
            <>
              <p>{t("factor.none")}</p>
              {!enrolment && (
                <button type="button" className="primary" disabled={action.busy} onClick={begin}>
                  {t("factor.begin")}
                </button>
              )}
            </>
          )
        }
      </Load>
      {enrolment && (
        <form onSubmit={confirm} className="narrow">
          <p>{t("factor.enter")}</p>
          <p>
            <code className="wrap">{enrolment.secret}</code> <Copy text={enrolment.secret} label={t("copy")} />
          </p>
          <p>
            <a href={enrolment.otpauthUri}>{t("factor.open")}</a>
          </p>
          <Field label={t("login.code")}>{(id) => <input id={id} autoComplete="one-time-code" required value={code} onChange={(event) => setCode(event.target.value)} />}</Field>
          <button type="submit" className="primary" disabled={action.busy}>
            {t("factor.confirm")}
          </button>
        </form>
      )}
      {action.problem && <ProblemBox problem={action.problem} />}
      {codes && (
        <Dialog title={t("factor.codes")} close={() => setCodes(undefined)}>
          <p>{t("factor.codes-hint")}</p>
          <pre tabIndex={0}>{codes.join("\n")}</pre>
          <Copy text={codes.join("\n")} label={t("copy")} />
        </Dialog>
      )}
    </Section>
  );
}

function Sessions() {
  const t = useT();
  const [turn, setTurn] = useState(0);
  const action = useAction();
  const end = (id: string) =>
    void action.run(async () => {
      await ok(api.DELETE("/users/me/sessions/{id}", { params: { path: { id } } }));
      setTurn((before) => before + 1);
    });
  return (
    <Section title={t("sessions.title")}>
      <List<Schemas["OpenSession"]>
        label={t("sessions.title")}
        from={`sessions ${turn}`}
        read={(pageToken) => ok(api.GET("/users/me/sessions", { params: { query: { pageSize: 20, pageToken } } }))}
        id={(session) => session.id}
        empty={t("home.nothing")}
        columns={[
          { label: t("created"), cell: (session) => <Time at={session.createdAt} /> },
          { label: t("sessions.expires"), cell: (session) => <Time at={session.expiresAt} /> },
          {
            label: t("actions"),
            cell: (session) =>
              session.current ? (
                t("sessions.current")
              ) : (
                <button type="button" disabled={action.busy} onClick={() => end(session.id)}>
                  {t("sessions.end")}
                </button>
              ),
          },
        ]}
      />
      {action.problem && <ProblemBox problem={action.problem} />}
    </Section>
  );
}

function ServiceKeys() {
  const t = useT();
  const may = useMay();
  const [turn, setTurn] = useState(0);
  const [made, setMade] = useState<Schemas["ServiceKeySecret"]>();
  const [revoked, setRevoked] = useState<Schemas["ServiceKey"]>();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState("");
  const action = useAction();
  const again = () => setTurn((before) => before + 1);
  const create = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      const body = { name, scopes: scopes.split(/[\s,]+/).filter((scope) => scope !== "") };
      setMade(await ok(api.POST("/service-keys", { body })));
      setName("");
      setScopes("");
      again();
    });
  };
  const rotate = (id: string) =>
    void action.run(async () => {
      setMade(await ok(api.POST("/service-keys/{id}/rotation", { params: { path: { id } }, body: { overlapSeconds: 86_400 } })));
      again();
    });
  const revoke = (id: string) =>
    void action.run(async () => {
      await ok(api.DELETE("/service-keys/{id}", { params: { path: { id } } }));
      setRevoked(undefined);
      again();
    });
  const writes = may("service-keys:write");
  return (
    <Section title={t("keys.title")}>
      <List<Schemas["ServiceKey"]>
        label={t("keys.title")}
        from={`keys ${turn}`}
        read={(pageToken) => ok(api.GET("/service-keys", { params: { query: { pageSize: 50, pageToken } } }))}
        id={(key) => key.id}
        empty={t("keys.empty")}
        columns={[
          { label: t("name"), cell: (key) => <span title={key.id}>{key.name}</span> },
          { label: t("keys.scopes"), cell: (key) => key.scopes.join(", ") },
          { label: t("keys.used"), cell: (key) => <Time at={key.lastUsedAt} /> },
          { label: t("sessions.expires"), cell: (key) => <Time at={key.expiresAt} /> },
          {
            label: t("actions"),
            cell: (key) =>
              writes ? (
                <div className="actions">
                  <button type="button" disabled={action.busy} onClick={() => rotate(key.id)}>
                    {t("keys.rotate")}
                  </button>
                  <button type="button" className="danger" disabled={action.busy} onClick={() => setRevoked(key)}>
                    {t("keys.revoke")}
                  </button>
                </div>
              ) : (
                <Id id={key.id} />
              ),
          },
        ]}
      />
      {writes && (
        <form onSubmit={create} className="narrow">
          <Field label={t("name")}>{(id) => <input id={id} required value={name} onChange={(event) => setName(event.target.value)} />}</Field>
          <Field label={t("keys.scopes")} hint={t("keys.scopes-hint")}>
            {(id) => <input id={id} required placeholder="activities:write claims:write" value={scopes} onChange={(event) => setScopes(event.target.value)} />}
          </Field>
          <button type="submit" className="primary" disabled={action.busy}>
            {t("keys.create")}
          </button>
        </form>
      )}
      {action.problem && <ProblemBox problem={action.problem} />}
      {made && (
        <Dialog title={t("keys.secret")} close={() => setMade(undefined)}>
          <p>{t("keys.secret-hint")}</p>
          <p>
            <code className="wrap">{made.secret}</code> <Copy text={made.secret} label={t("copy")} />
          </p>
        </Dialog>
      )}
      {revoked && (
        <Dialog title={t("keys.revoke")} close={() => setRevoked(undefined)}>
          <p>{t("keys.revoke-hint", { name: revoked.name })}</p>
          <button type="button" className="danger" onClick={() => revoke(revoked.id)}>
            {t("keys.revoke")}
          </button>
        </Dialog>
      )}
    </Section>
  );
}
