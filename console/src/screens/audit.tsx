// The audit log, with the changed fields, and its export with the filter applied.
import { type FormEvent, useState } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { to, useFilters } from "../router";
import { List } from "../ui/data";
import { Badge, Field, Id, Page, Time } from "../ui/parts";

const FILTERS = ["actor", "action", "target", "outcome", "from", "to"] as const;

export default function Audit() {
  const t = useT();
  const v = useValue();
  const [filters, setFilters] = useFilters(FILTERS);
  const [exporting, setExporting] = useState(false);
  const day = (text: string) => (text === "" ? undefined : new Date(`${text}T00:00`).toISOString());
  const query = Object.fromEntries(Object.entries({ ...filters, from: day(filters.from), to: day(filters.to) }).filter(([, value]) => value)) as {
    actor?: string;
    action?: string;
    target?: string;
    outcome?: Schemas["AuditOutcome"];
    from?: string;
    to?: string;
  };
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilters(Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])));
  };
  const path = `/audit${to([], query).slice(1)}`;
  const save = async () => {
    setExporting(true);
    const response = await fetch(path, { headers: { accept: "application/x-ndjson" } });
    const url = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: url, download: "audit.ndjson" }).click();
    URL.revokeObjectURL(url);
    setExporting(false);
  };
  const key = JSON.stringify(query);
  return (
    <Page
      title={t("nav.audit")}
      curl={path}
      actions={
        <button type="button" disabled={exporting} onClick={() => void save()}>
          {t("audit.export")}
        </button>
      }
    >
      <form className="filters" onSubmit={search} key={key}>
        <Field label={t("audit.actor")}>{(id) => <input id={id} name="actor" defaultValue={filters.actor} placeholder="UUID" />}</Field>
        <Field label={t("audit.action")}>{(id) => <input id={id} name="action" defaultValue={filters.action} placeholder="PUT /events/{id}" />}</Field>
        <Field label={t("audit.target")}>{(id) => <input id={id} name="target" defaultValue={filters.target} />}</Field>
        <Field label={t("audit.outcome")}>
          {(id) => (
            <select id={id} name="outcome" defaultValue={filters.outcome}>
              <option value="">{t("any")}</option>
              {["DONE", "REFUSED", "FAILED"].map((outcome) => (
                <option key={outcome} value={outcome}>
                  {v("status", outcome)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t("from")}>{(id) => <input id={id} name="from" type="date" defaultValue={filters.from} />}</Field>
        <Field label={t("until")}>{(id) => <input id={id} name="to" type="date" defaultValue={filters.to} />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Schemas["AuditRecord"]>
        label={t("nav.audit")}
        from={key}
        read={async (pageToken) => {
          // A text only in an export.
          const page = await ok(api.GET("/audit", { params: { query: { ...query, pageSize: 50, pageToken } } }));
          return page as Exclude<typeof page, string>;
        }}
        id={(entry) => entry.id}
        empty={t("audit.empty")}
        columns={[
          { label: t("audit.at"), cell: (entry) => <Time at={entry.at} /> },
          {
            label: t("audit.actor"),
            cell: (entry) => (
              <>
                {entry.actorRole ? v("role", entry.actorRole) : v("actor", entry.actorKind)} {entry.actorName} {entry.actorId && <Id id={entry.actorId} to={to(["audit"], { actor: entry.actorId })} />}
              </>
            ),
          },
          { label: t("audit.action"), cell: (entry) => <code>{entry.action}</code> },
          { label: t("audit.target"), cell: (entry) => (entry.targetId ? <Id id={entry.targetId} to={to(["audit"], { target: entry.targetId })} /> : "–") },
          {
            label: t("audit.outcome"),
            cell: (entry) => (
              <>
                <Badge group="status" value={entry.outcome} /> {entry.reason}
              </>
            ),
          },
          { label: t("audit.changes"), cell: (entry) => <Changes of={entry.changes} /> },
          { label: t("audit.address"), cell: (entry) => entry.address ?? "–" },
        ]}
      />
    </Page>
  );
}

/** Old and new value of each field. */
function Changes({ of }: { of: Record<string, unknown> }) {
  const text = (value: unknown) => (value === undefined || value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value));
  return (
    <ul className="rows">
      {Object.entries(of).map(([field, change]) => {
        const { old, new: now } = (change ?? {}) as { old?: unknown; new?: unknown };
        return (
          <li key={field}>
            <code>{field}</code>: <del>{text(old)}</del> → <ins>{text(now)}</ins>
          </li>
        );
      })}
    </ul>
  );
}
