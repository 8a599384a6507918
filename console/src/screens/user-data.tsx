// What an administrator may do with everything that the server holds about a user: read its history, export it, have it erased.
import { useState } from "react";
import { type Schemas, ProblemError, api, ok, problemOf } from "../api/client";
import { useT } from "../messages";
import { useMay } from "../session";
import { Load, problemFrom, useAction, useData } from "../ui/data";
import { Dialog, Empty, Facts, Field, ProblemBox, Section, Time } from "../ui/parts";

type Line = { type: string; data: Record<string, unknown> };
/** Attributes and sessions come before activities and claims, of which there may be millions: those are not read. */
const SHOWN = ["attribute", "session"];
const MOST_LINES = 500;

/** The first lines of the export. */
async function historyOf(user: string): Promise<Line[]> {
  const response = await fetch(exportOf(user)).catch((error: unknown) => {
    throw new ProblemError({ type: "", title: "", status: 0, code: "offline", detail: String(error) });
  });
  if (!response.ok || !response.body) throw new ProblemError(await problemOf(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const lines: Line[] = [];
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return lines;
      const parts = (rest + value).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts.filter((text) => text !== "")) {
        const line = JSON.parse(part) as Line;
        if (SHOWN.includes(line.type)) lines.push(line);
        else if (line.type !== "account") return lines;
        if (lines.length >= MOST_LINES) return lines;
      }
    }
  } finally {
    // A second call ends a stream that was read to its end as well.
    await reader.cancel().catch(() => undefined);
  }
}

function exportOf(user: string): string {
  return `/users/${encodeURIComponent(user)}/export`;
}

export function PersonalData({ user }: { user: string }) {
  const t = useT();
  const may = useMay();
  const [open, setOpen] = useState(false);
  return (
    <Section
      title={t("data.title")}
      actions={
        <a href={exportOf(user)} download="user.ndjson">
          {t("data.export")}
        </a>
      }
    >
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{t("data.history")}</summary>
        {open && <History user={user} />}
      </details>
      {may("users:write") && <Erasure user={user} />}
    </Section>
  );
}

function History({ user }: { user: string }) {
  const t = useT();
  const found = useData(`history ${user}`, () => historyOf(user));
  return (
    <Load from={found}>
      {(lines) => {
        const of = (type: string) => lines.filter((line) => line.type === type).map(({ data }) => data);
        return (
          <>
            <h3>{t("user.attributes")}</h3>
            <Table
              label={t("user.attributes")}
              heads={[t("name"), t("reward.value"), t("data.set")]}
              rows={of("attribute").map(({ name, value, setAt }) => [String(name), value === null ? t("data.removed") : String(value), <Time at={String(setAt)} />])}
            />
            <h3>{t("data.sessions")}</h3>
            <Table
              label={t("data.sessions")}
              heads={[t("created"), t("sessions.expires"), t("data.ended")]}
              rows={of("session").map(({ createdAt, expiresAt, endedAt }) => [<Time at={String(createdAt)} />, <Time at={String(expiresAt)} />, endedAt ? <Time at={String(endedAt)} /> : "–"])}
            />
            {lines.length >= MOST_LINES && <p className="hint">{t("data.more")}</p>}
          </>
        );
      }}
    </Load>
  );
}

function Table({ label, heads, rows }: { label: string; heads: string[]; rows: React.ReactNode[][] }) {
  const t = useT();
  if (rows.length === 0) return <Empty>{t("home.nothing")}</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cells, index) => (
            <tr key={index}>
              {cells.map((cell, at) => (
                <td key={at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Erasure({ user }: { user: string }) {
  const t = useT();
  const path = { id: user };
  const [asking, setAsking] = useState(false);
  const [typed, setTyped] = useState("");
  const action = useAction();
  const found = useData(`erasure ${user}`, async (): Promise<Schemas["Erasure"] | null> => {
    try {
      return await ok(api.GET("/users/{id}/erasure", { params: { path } }));
    } catch (error) {
      if (problemFrom(error).code === "no-erasure") return null;
      throw error;
    }
  });
  const erase = () =>
    void action.run(async () => {
      await ok(api.DELETE("/users/{id}", { params: { path } }));
      setAsking(false);
      found.reload();
    });
  const cancel = () =>
    void action.run(async () => {
      await ok(api.DELETE("/users/{id}/erasure", { params: { path } }));
      found.reload();
    });
  // Short enough to type, and not the same for the user before.
  const proof = user.slice(-8);
  return (
    <>
      <Load from={found}>
        {(erasure) =>
          erasure === null ? (
            <button type="button" className="danger" onClick={() => setAsking(true)}>
              {t("erase.ask")}
            </button>
          ) : (
            <>
              <Facts items={[["erase.asked", <Time at={erasure.requestedAt} />], ["erase.due", <Time at={erasure.dueAt} />], ["erase.done", <Time at={erasure.completedAt} />]]} />
              {!erasure.completedAt && (
                <button type="button" disabled={action.busy} onClick={cancel}>
                  {t("erase.cancel")}
                </button>
              )}
            </>
          )
        }
      </Load>
      {!asking && action.problem && <ProblemBox problem={action.problem} />}
      {asking && (
        <Dialog title={t("erase.ask")} close={() => setAsking(false)}>
          <form
            className="narrow"
            onSubmit={(event) => {
              event.preventDefault();
              if (typed.trim() === proof) erase();
            }}
          >
            <p>{t("erase.hint")}</p>
            <Field label={t("erase.type", { proof })}>{(id) => <input id={id} autoComplete="off" value={typed} onChange={(event) => setTyped(event.target.value)} />}</Field>
            {action.problem && <ProblemBox problem={action.problem} />}
            <button type="submit" className="danger" disabled={action.busy || typed.trim() !== proof}>
              {t("erase.ask")}
            </button>
          </form>
        </Dialog>
      )}
    </>
  );
}
