// Users: found by external id, e-mail or id; what a role may see of one.
import { type FormEvent, useState } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { Link, navigate, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Empty, Facts, Field, Id, Page, ProblemBox, Section, Time } from "../ui/parts";
import { ProgressBars } from "../ui/reasons";
import { ClaimTable, UUID, userFilter } from "./claims";
import { PersonalData } from "./user-data";

export default function Users() {
  const [, user] = useRoute().parts;
  return user === undefined ? <Search /> : <UserPage key={user} user={user} />;
}

/** A user as a path names it. */
function reference(user: string): string {
  return UUID.test(user) || user.startsWith("external:") ? user : `external:${user}`;
}

function Search() {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const [filters, setFilters] = useFilters(["role", "email"]);
  const find = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const wanted = String(form.get("user") ?? "").trim();
    if (wanted.includes("@") && may("users:read") && !wanted.startsWith("external:")) setFilters({ email: wanted });
    else if (wanted !== "") navigate(to(["users", reference(wanted)]));
  };
  const query = { ...(filters.role === "" ? {} : { role: filters.role as Schemas["Role"] }), ...(filters.email === "" ? {} : { email: filters.email }) };
  return (
    <Page title={t("nav.users")} curl={`/users${to([], query).slice(1)}`}>
      <form className="filters" onSubmit={find}>
        <Field label={t("user.find")}>{(id) => <input id={id} name="user" autoFocus defaultValue={filters.email} placeholder={t("user.hint")} />}</Field>
        <button type="submit" className="primary">
          {t("search")}
        </button>
        {may("users:read") && (
          <Field label={t("user.role")}>
            {(id) => (
              <select id={id} value={filters.role} onChange={(event) => setFilters({ role: event.target.value, email: "" })}>
                <option value="">{t("any")}</option>
                {["USER", "OPERATOR", "AUDITOR", "ADMIN"].map((role) => (
                  <option key={role} value={role}>
                    {v("role", role)}
                  </option>
                ))}
              </select>
            )}
          </Field>
        )}
      </form>
      {may("users:read") ? (
        <List<Schemas["User"]>
          label={t("nav.users")}
          from={JSON.stringify(query)}
          read={(pageToken) => ok(api.GET("/users", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
          id={(user) => user.id}
          empty={t("users.empty")}
          columns={[
            { label: t("user.id"), cell: (user) => <Id id={user.id} to={to(["users", user.id])} /> },
            { label: t("user.external"), cell: (user) => user.externalId ?? "–" },
            { label: t("login.email"), cell: (user) => user.email ?? "–" },
            { label: t("user.role"), cell: (user) => v("role", user.role) },
            { label: t("created"), cell: (user) => <Time at={user.createdAt} /> },
          ]}
        />
      ) : (
        <Empty>{t("users.search-only")}</Empty>
      )}
    </Page>
  );
}

function UserPage({ user }: { user: string }) {
  const t = useT();
  const may = useMay();
  const ref = reference(user);
  const filter = userFilter(ref);
  return (
    <Page title={t("user.title", { user: user.startsWith("external:") ? user.slice("external:".length) : user.slice(-8) })} curl={`/users/${encodeURIComponent(ref)}`}>
      {may("users:read") ? <Account user={ref} /> : <Attributes user={ref} attributes={undefined} />}
      <EventsOf user={ref} />
      <Section title={t("nav.claims")} actions={<Link to={to(["claims"], { user: user })}>{t("home.all")}</Link>}>
        <ClaimTable query={filter} empty={t("claims.empty")} />
      </Section>
      {may("activities:read") && <Activities user={ref} />}
      {may("users:read") && <PersonalData user={ref} />}
    </Page>
  );
}

function Account({ user }: { user: string }) {
  const t = useT();
  const v = useValue();
  const found = useData(`user ${user}`, () => ok(api.GET("/users/{id}", { params: { path: { id: user } } })));
  return (
    <Load from={found}>
      {(account) => (
        <>
          <Facts
            items={[
              ["user.id", <code className="wrap">{account.id}</code>],
              ["user.external", account.externalId],
              ["login.email", account.email],
              ["user.role", v("role", account.role)],
              ["created", <Time at={account.createdAt} />],
              ["user.disabled", account.disabled ? t("yes") : t("no")],
              ["user.inviter", account.invitedBy ? <Id id={account.invitedBy} to={to(["users", account.invitedBy])} /> : "–"],
            ]}
          />
          <Attributes user={user} attributes={account.attributes} done={found.reload} />
        </>
      )}
    </Load>
  );
}

/** The attributes, which a role may set without seeing the account. */
function Attributes({ user, attributes, done }: { user: string; attributes: Record<string, string> | undefined; done?: () => void }) {
  const t = useT();
  const may = useMay();
  const [text, setText] = useState<string>();
  const [saved, setSaved] = useState<Record<string, string>>();
  const action = useAction();
  const shown = saved ?? attributes;
  const rows = Object.entries(shown ?? {});
  const save = (event: FormEvent) => {
    event.preventDefault();
    void action.run(async () => {
      const body = JSON.parse(text ?? "{}") as Record<string, string>;
      const stored = await ok(api.PUT("/users/{id}/attributes", { params: { path: { id: user } }, body }));
      setSaved(stored.attributes);
      setText(undefined);
      done?.();
    });
  };
  if (shown === undefined && !may("attributes:write")) return null;
  return (
    <Section
      title={t("user.attributes")}
      actions={
        may("attributes:write") && text === undefined ? (
          <button type="button" onClick={() => setText(JSON.stringify(shown ?? {}, null, 2))}>
            {t("replace")}
          </button>
        ) : undefined
      }
    >
      {shown === undefined ? (
        <Empty>{t("user.attributes-hidden")}</Empty>
      ) : rows.length === 0 ? (
        <Empty>{t("user.no-attributes")}</Empty>
      ) : (
        <dl className="facts">
          {rows.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
      {text !== undefined && (
        <form onSubmit={save}>
          <Field label={t("user.attributes-json")} hint={t("user.attributes-hint")}>
            {(id) => <textarea id={id} rows={8} spellCheck={false} value={text} onChange={(event) => setText(event.target.value)} />}
          </Field>
          {action.problem && <ProblemBox problem={action.problem} />}
          <div className="actions">
            <button type="submit" className="primary" disabled={action.busy}>
              {t("save")}
            </button>
            <button type="button" onClick={() => setText(undefined)}>
              {t("cancel")}
            </button>
          </div>
        </form>
      )}
    </Section>
  );
}

/** How far the user is at the events that run now. Each is read when it is opened. */
function EventsOf({ user }: { user: string }) {
  const t = useT();
  const [now] = useState(() => new Date().toISOString());
  const events = useData("running", () => ok(api.GET("/events", { params: { query: { at: now, isActive: true, pageSize: 50 } } })));
  return (
    <Section title={t("user.progress")}>
      <Load from={events}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty>{t("events.none-running")}</Empty>
          ) : (
            <ul className="rows">
              {items.map((event) => (
                <ProgressAt key={event.id} user={user} event={event} />
              ))}
            </ul>
          )
        }
      </Load>
    </Section>
  );
}

function ProgressAt({ user, event }: { user: string; event: Schemas["Event"] }) {
  const t = useT();
  const [open, setOpen] = useState(false);
  return (
    <li>
      <details onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
        <summary>{event.title}</summary>
        {open && <OpenProgress user={user} event={event.id} />}
        <Link to={to(["why"], { user, event: event.id })}>{t("why.ask")}</Link>
      </details>
    </li>
  );
}

function OpenProgress({ user, event }: { user: string; event: string }) {
  const t = useT();
  const found = useData(`${user} ${event}`, () => ok(api.GET("/events/{id}/progress", { params: { path: { id: event }, query: userFilter(user) } })));
  return (
    <Load from={found}>
      {(progress) => (
        <>
          <p>{progress.eligible ? t("why.yes") : t("why.of", { granted: progress.granted, limit: progress.limit })}</p>
          <ProgressBars progress={progress.progress} />
        </>
      )}
    </Load>
  );
}

function Activities({ user }: { user: string }) {
  const t = useT();
  const [filters, setFilters] = useFilters(["kind"]);
  const query = filters.kind === "" ? {} : { kind: filters.kind };
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setFilters({ kind: String(new FormData(event.currentTarget).get("kind") ?? "").trim() });
  };
  return (
    <Section title={t("user.activities")}>
      <form className="filters" onSubmit={search}>
        <Field label={t("activity.kind")}>{(id) => <input id={id} name="kind" defaultValue={filters.kind} placeholder="shop.purchase" />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Schemas["Activity"]>
        label={t("user.activities")}
        from={`${user} ${filters.kind}`}
        read={(pageToken) => ok(api.GET("/users/{id}/activities", { params: { path: { id: user }, query: { ...query, pageSize: 50, pageToken } } }))}
        id={(activity) => activity.id}
        empty={t("activities.empty")}
        columns={[
          { label: t("activity.occurred"), cell: (activity) => <Time at={activity.occurredAt} /> },
          { label: t("activity.kind"), cell: (activity) => <code>{activity.kind}</code> },
          { label: t("activity.amount"), cell: (activity) => activity.amount ?? "–", numeric: true },
          { label: t("user.attributes"), cell: (activity) => <code className="wrap">{JSON.stringify(activity.attributes)}</code> },
          { label: t("activity.source"), cell: (activity) => activity.source },
          { label: t("activity.recorded"), cell: (activity) => <Time at={activity.recordedAt} /> },
        ]}
      />
    </Section>
  );
}
