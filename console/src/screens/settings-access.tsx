// Who may do what: the accounts of staff with their roles, and the keys whose signatures on plugins count.
import { type FormEvent, useState } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { to } from "../router";
import { useMay, useUser } from "../session";
import { List, useAction } from "../ui/data";
import { Dialog, Field, Id, ProblemBox, Section, Time } from "../ui/parts";

type User = Schemas["User"];
type Role = Schemas["Role"];
const STAFF: Role[] = ["OPERATOR", "AUDITOR", "ADMIN"];

export function Members() {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const me = useUser();
  const [role, setRole] = useState<Role>("ADMIN");
  const [email, setEmail] = useState("");
  const [wanted, setWanted] = useState("");
  const [turn, setTurn] = useState(0);
  const [changing, setChanging] = useState<User>();
  const query = wanted === "" ? { role } : { email: wanted };
  const find = (event: FormEvent) => {
    event.preventDefault();
    setWanted(email.trim());
  };
  return (
    <Section title={t("members.title")}>
      <form className="filters" onSubmit={find}>
        <Field label={t("user.role")}>
          {(id) => (
            <select
              id={id}
              value={role}
              onChange={(event) => {
                setRole(event.target.value as Role);
                setEmail("");
                setWanted("");
              }}
            >
              {STAFF.map((known) => (
                <option key={known} value={known}>
                  {v("role", known)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t("login.email")} hint={t("members.hint")}>
          {(id) => <input id={id} type="email" value={email} onChange={(event) => setEmail(event.target.value)} />}
        </Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<User>
        label={t("members.title")}
        from={`${JSON.stringify(query)} ${turn}`}
        read={(pageToken) => ok(api.GET("/users", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(user) => user.id}
        empty={t("users.empty")}
        columns={[
          { label: t("login.email"), cell: (user) => user.email ?? "–" },
          { label: t("user.id"), cell: (user) => <Id id={user.id} to={to(["users", user.id])} /> },
          { label: t("user.role"), cell: (user) => v("role", user.role) },
          { label: t("user.disabled"), cell: (user) => (user.disabled ? t("yes") : t("no")) },
          ...(may("users:write")
            ? [
                {
                  label: t("actions"),
                  cell: (user: User) =>
                    user.id === me.id ? (
                      t("members.me")
                    ) : (
                      <button type="button" onClick={() => setChanging(user)}>
                        {t("members.change")}
                      </button>
                    ),
                },
              ]
            : []),
        ]}
      />
      {changing && (
        <ChangeMember
          user={changing}
          close={() => setChanging(undefined)}
          done={() => {
            setChanging(undefined);
            setTurn((before) => before + 1);
          }}
        />
      )}
    </Section>
  );
}

function ChangeMember({ user, close, done }: { user: User; close: () => void; done: () => void }) {
  const t = useT();
  const v = useValue();
  const [role, setRole] = useState<Role>(user.role);
  const [disabled, setDisabled] = useState(user.disabled);
  const action = useAction();
  const save = (event: FormEvent) => {
    event.preventDefault();
    const body = { ...(role === user.role ? {} : { role }), ...(disabled === user.disabled ? {} : { disabled }) };
    if (Object.keys(body).length === 0) return close();
    return void action.run(async () => {
      await ok(api.PATCH("/users/{id}", { params: { path: { id: user.id } }, body }));
      done();
    });
  };
  return (
    <Dialog title={t("members.change-title", { email: user.email ?? user.id })} close={close}>
      <form className="narrow" onSubmit={save}>
        <p>{t("members.ends")}</p>
        <Field label={t("user.role")}>
          {(id) => (
            <select id={id} value={role} onChange={(event) => setRole(event.target.value as Role)}>
              {(["USER", ...STAFF] as Role[]).map((known) => (
                <option key={known} value={known}>
                  {v("role", known)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <label className="check">
          <input type="checkbox" checked={disabled} onChange={(event) => setDisabled(event.target.checked)} />
          {t("user.disabled")}
        </label>
        {action.problem && <ProblemBox problem={action.problem} />}
        <button type="submit" className="primary" disabled={action.busy}>
          {t("save")}
        </button>
      </form>
    </Dialog>
  );
}

type PluginKey = Schemas["PluginKey"];

/** Keys of authors. A plugin that one of them signed is trusted. */
export function Signers() {
  const t = useT();
  const may = useMay();
  const [turn, setTurn] = useState(0);
  const [name, setName] = useState("");
  const [publicKey, setPublicKey] = useState("");
  const [revoked, setRevoked] = useState<PluginKey>();
  const action = useAction();
  const again = () => setTurn((before) => before + 1);
  const add = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      await ok(api.POST("/plugin-keys", { body: { name, publicKey } }));
      setName("");
      setPublicKey("");
      again();
    });
  };
  const revoke = (keyId: string) =>
    void action.run(async () => {
      await ok(api.DELETE("/plugin-keys/{keyId}", { params: { path: { keyId } } }));
      setRevoked(undefined);
      again();
    });
  const writes = may("plugin-keys:write");
  return (
    <Section title={t("signers.title")}>
      <List<PluginKey>
        label={t("signers.title")}
        from={`signers ${turn}`}
        read={(pageToken) => ok(api.GET("/plugin-keys", { params: { query: { pageSize: 50, pageToken } } }))}
        id={(key) => key.keyId}
        empty={t("signers.empty")}
        columns={[
          { label: t("name"), cell: (key) => key.name },
          { label: t("receipt.key"), cell: (key) => <code>{key.keyId}</code> },
          { label: t("created"), cell: (key) => <Time at={key.addedAt} /> },
          { label: t("signers.revoked"), cell: (key) => <Time at={key.revokedAt} /> },
          ...(writes
            ? [
                {
                  label: t("actions"),
                  cell: (key: PluginKey) =>
                    key.revokedAt ? (
                      "–"
                    ) : (
                      <button type="button" className="danger" onClick={() => setRevoked(key)}>
                        {t("keys.revoke")}
                      </button>
                    ),
                },
              ]
            : []),
        ]}
      />
      {writes && (
        <form className="narrow" onSubmit={add}>
          <Field label={t("name")}>{(id) => <input id={id} required value={name} onChange={(event) => setName(event.target.value)} />}</Field>
          <Field label={t("signers.key")} hint={t("signers.key-hint")}>
            {(id) => <textarea id={id} rows={2} required spellCheck={false} value={publicKey} onChange={(event) => setPublicKey(event.target.value)} />}
          </Field>
          <button type="submit" disabled={action.busy}>
            {t("signers.add")}
          </button>
        </form>
      )}
      {action.problem && <ProblemBox problem={action.problem} />}
      {revoked && (
        <Dialog title={t("keys.revoke")} close={() => setRevoked(undefined)}>
          <p>{t("signers.revoke-hint", { name: revoked.name })}</p>
          <button type="button" className="danger" disabled={action.busy} onClick={() => revoke(revoked.keyId)}>
            {t("keys.revoke")}
          </button>
        </Dialog>
      )}
    </Section>
  );
}
