// Comments, and what happened to the release, newest first, each with the hash of its time.
import { useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { to } from "../../router";
import { useMay } from "../../session";
import { List } from "../../ui/data";
import { Badge, Field, Id, Section, Time } from "../../ui/parts";
import type { Change } from "./page";

type Release = Schemas["Release"];

export function Conversation({ release, turn, change }: { release: Release; turn: number; change: Change }) {
  const t = useT();
  const may = useMay();
  const [text, setText] = useState("");
  const path = { id: release.id };
  const comment = async () => {
    const sent = await change.run(() => ok(api.POST("/releases/{id}/comments", { params: { path }, body: { text: text.trim() } })));
    // What could not be sent stays typed.
    if (sent) setText("");
  };
  return (
    <Section title={t("release.conversation")}>
      {may("releases:write") && (
        <form
          className="narrow"
          onSubmit={(event) => {
            event.preventDefault();
            void comment();
          }}
        >
          <Field label={t("release.comment")}>{(id) => <textarea id={id} required maxLength={2000} rows={2} value={text} onChange={(event) => setText(event.target.value)} />}</Field>
          <button type="submit" disabled={change.busy || text.trim() === ""}>
            {t("release.send")}
          </button>
        </form>
      )}
      <List<Schemas["ReleaseEntry"]>
        label={t("release.conversation")}
        from={`${release.id} ${release.revision} ${turn}`}
        read={(pageToken) => ok(api.GET("/releases/{id}/entries", { params: { path, query: { pageSize: 20, pageToken } } }))}
        id={(entry) => String(entry.number)}
        empty={t("home.nothing")}
        columns={[
          { label: t("audit.at"), cell: (entry) => <Time at={entry.at} /> },
          { label: t("changed-by"), cell: (entry) => (entry.by ? <Id id={entry.by} to={to(["users", entry.by])} /> : t("actor.SYSTEM")) },
          { label: t("audit.action"), cell: (entry) => <Badge group="entry" value={entry.action} /> },
          { label: t("release.text"), cell: (entry) => entry.text ?? "–" },
          { label: t("release.hash"), cell: (entry) => <code title={entry.hash}>{entry.hash.slice(7, 15)}{entry.hash === release.hash ? "" : ` ${t("release.older")}`}</code> },
        ]}
      />
    </Section>
  );
}
