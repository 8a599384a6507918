// What a release changes: member by member beside what the event was when the release was made, and both as JSON.
import type { ReactNode } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { type Key, useT } from "../../messages";
import { Link, to } from "../../router";
import { Load, useData } from "../../ui/data";
import { Empty, Json, Section } from "../../ui/parts";
import { LABELS, canonical } from "../event-editor/conflict";

type Content = Record<string, unknown>;
export type Line = { path: string; label: string; before: unknown; after: unknown };
/** No release changes these: they belong to the stored event. */
const NOT_CONTENT = new Set(["id", "revision", "createdAt", "updatedAt", "createdBy", "seedCommitment", "seedSecret", "appliedRevision", "candidate", "digest", "applied", "acceptSlowReads"]);

const isObject = (value: unknown): value is Content => typeof value === "object" && value !== null && !Array.isArray(value);

/** What differs, with a path of members. Members of an object are compared one by one. */
export function lines(before: unknown, after: unknown, label: (member: string) => string, path: string[] = []): Line[] {
  if (canonical(before) === canonical(after)) return [];
  if (isObject(before) && isObject(after)) {
    const members = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((member) => path.length > 1 || !NOT_CONTENT.has(member));
    return members.flatMap((member) => {
      const of = (side: Content) => (Object.hasOwn(side, member) ? side[member] : undefined);
      return lines(of(before), of(after), label, [...path, member]);
    });
  }
  const [first = "", ...rest] = path;
  return [{ path: path.join("/"), label: [label(first), ...rest.filter((part) => part !== "params")].join(" · "), before, after }];
}

/** The event as it was when the release was made, among its revisions. */
async function contentAt(eventId: string, revision: number): Promise<Content | undefined> {
  let pageToken: string | undefined;
  for (let page = 0; page < 5; page += 1) {
    const found = await ok(api.GET("/events/{id}/revisions", { params: { path: { id: eventId }, query: { pageSize: 100, pageToken } } }));
    const entry = found.items.find((item) => item.revision === revision);
    if (entry) return entry.event as Content;
    if (!found.nextPageToken) return undefined;
    pageToken = found.nextPageToken;
  }
  return undefined;
}

export function Changes({ release }: { release: Schemas["Release"] }) {
  const t = useT();
  const base = useData(`base ${release.eventId} ${release.eventRevision}`, async () => (await contentAt(release.eventId, release.eventRevision)) ?? null);
  const label = (member: string) => (LABELS[member] === undefined ? member : t(LABELS[member] as Key));
  return (
    <Section title={t("release.changes")}>
      <Load from={base}>
        {(before) => {
          if (before === null) return <Empty>{t("release.no-base", { revision: release.eventRevision })}</Empty>;
          const found = lines(before, release.event, label);
          return found.length === 0 ? <Empty>{t("release.no-changes")}</Empty> : <Lines of={found} />;
        }}
      </Load>
      <p className="hint">
        {t("plugin.version")}: <PluginOf release={release} /> <code className="wrap">{release.pluginDigest}</code>
      </p>
      <details>
        <summary>{t("release.json")}</summary>
        <Json value={release.event} label={t("release.json")} />
      </details>
    </Section>
  );
}

function PluginOf({ release }: { release: Schemas["Release"] }) {
  const condition = (release.event as { condition?: { plugin?: unknown; version?: unknown } }).condition;
  const [plugin, version] = [String(condition?.plugin ?? "–"), String(condition?.version ?? "")];
  return <Link to={to(["plugins", plugin, version])}>{`${plugin} ${version}`}</Link>;
}

function Lines({ of }: { of: Line[] }) {
  const t = useT();
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("release.changes")}>
      <table className="sides">
        <thead>
          <tr>
            <th scope="col">{t("conflict.field")}</th>
            <th scope="col">{t("release.before")}</th>
            <th scope="col">{t("release.after")}</th>
          </tr>
        </thead>
        <tbody>
          {of.map((line) => (
            <tr key={line.path}>
              <th scope="row">{line.label}</th>
              <td>
                <del>{shown(line.before)}</del>
              </td>
              <td>
                <ins>{shown(line.after)}</ins>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function shown(value: unknown): ReactNode {
  if (value === undefined || value === null || value === "") return "–";
  return <code className="wrap">{typeof value === "string" ? value : JSON.stringify(value, null, 1)}</code>;
}
