// The condition: cards of the plugins, the version, and the form of its params.
import { type RefObject, useEffect, useRef, useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useLanguage, useT } from "../../messages";
import { Load, useData } from "../../ui/data";
import { Empty, Section } from "../../ui/parts";
import { FormField, FormGroup } from "../../ui/form";
import { textsOf } from "../../ui/plugin-title";
import { SchemaForm } from "../../ui/schema-form/form";
import { type Json, initial } from "../../ui/schema-form/schema";
import type { Draft } from "./draft";

type Version = Schemas["PluginVersion"];
type Props = { draft: Draft; change: (part: Partial<Draft>) => void; names: { value: string; label: string }[] };

/** Enough for every server that has not grown out of cards; the rest is found by the name. */
const MOST_PAGES = 5;

async function activeVersions(): Promise<Version[]> {
  const found: Version[] = [];
  let pageToken: string | undefined;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const { items, nextPageToken } = await ok(api.GET("/plugins", { params: { query: { state: "ACTIVE", pageSize: 200, pageToken } } }));
    found.push(...items);
    if (!nextPageToken) break;
    pageToken = nextPageToken;
  }
  return found;
}

export function ConditionPart({ draft, change, names }: Props) {
  const t = useT();
  const versions = useData("versions", activeVersions);
  const [picking, setPicking] = useState(draft.plugin === "");
  const [wanted, setWanted] = useState("");
  // The params of a plugin that was chosen before come back when it is chosen again.
  const [before, setBefore] = useState<Record<string, Json>>({});
  const version = useRef<HTMLSelectElement>(null);
  const [focus, setFocus] = useState(false);
  useEffect(() => {
    if (focus) version.current?.focus();
    setFocus(false);
  }, [focus]);
  const pick = (plugin: string, of: Version) => {
    if (draft.plugin !== "") setBefore({ ...before, [draft.plugin]: draft.params });
    const params = plugin === draft.plugin ? draft.params : (before[plugin] ?? initial(of.paramsSchema, of.paramsSchema) ?? {});
    change({ plugin, version: of.version, params });
    setPicking(false);
    setFocus(true);
  };
  return (
    <Section title={t("event.condition")}>
      <Load from={versions}>
        {(all) => {
          const byName = newestFirst(all);
          const shown = [...byName].filter(([name, [newest]]) => `${name} ${newest?.title ?? ""}`.toLowerCase().includes(wanted.toLowerCase()));
          return picking ? (
            <FormGroup pointer="/condition/plugin" label={t("editor.pick")}>
              {byName.size > 6 && (
                <div className="field">
                  <label htmlFor="plugin-search">{t("search")}</label>
                  <input id="plugin-search" value={wanted} onChange={(event) => setWanted(event.target.value)} />
                </div>
              )}
              {shown.length === 0 && <Empty>{t("editor.no-plugins")}</Empty>}
              <div className="cards">
                {shown.map(([name, [newest, ...older]]) => newest && <Card key={name} of={newest} versions={1 + older.length} chosen={name === draft.plugin} pick={() => pick(name, newest)} />)}
              </div>
            </FormGroup>
          ) : (
            <Chosen draft={draft} change={change} names={names} versions={byName.get(draft.plugin) ?? []} again={() => setPicking(true)} focus={version} />
          );
        }}
      </Load>
    </Section>
  );
}

/** The versions of each plugin, the newest upload first. */
function newestFirst(versions: Version[]): Map<string, Version[]> {
  const byName = new Map<string, Version[]>();
  for (const version of versions) byName.set(version.name, [...(byName.get(version.name) ?? []), version]);
  for (const list of byName.values()) list.sort((one, other) => Date.parse(other.createdAt) - Date.parse(one.createdAt));
  return byName;
}

function Card({ of, versions, chosen, pick }: { of: Version; versions: number; chosen: boolean; pick: () => void }) {
  const t = useT();
  const { title, description } = textsOf(of, useLanguage());
  const languages = Object.keys(of.translations).join(", ");
  return (
    <button type="button" className="plugin-card" aria-pressed={chosen} onClick={pick}>
      <strong>{title}</strong>
      <span>{description}</span>
      <span className="hint">
        <code>{of.name}</code> {t("editor.versions", { newest: of.version, count: versions })}
      </span>
      {languages !== "" && <span className="hint">{t("editor.languages", { languages })}</span>}
    </button>
  );
}

function Chosen({ draft, change, names, versions, again, focus }: Props & { versions: Version[]; again: () => void; focus: RefObject<HTMLSelectElement | null> }) {
  const t = useT();
  const language = useLanguage();
  const { plugin, version, params } = draft;
  // A version that is disabled or in quarantine is not among the active ones, but an event may keep it.
  const listed = versions.find((known) => known.version === version);
  const path = { name: plugin, version };
  const read = useData(listed || plugin === "" ? "" : `${plugin} ${version}`, async () =>
    listed || plugin === "" ? undefined : ok(api.GET("/plugins/{name}/versions/{version}", { params: { path } })),
  );
  const found = listed ?? read.data;
  const texts = found && textsOf(found, language);
  return (
    <>
      <header className="chosen">
        <div>
          <strong>{texts?.title ?? plugin}</strong>
          <p>{texts?.description}</p>
        </div>
        <button type="button" onClick={again}>
          {t("editor.pick-other")}
        </button>
      </header>
      <FormField pointer="/condition/version" label={t("plugin.version")}>
        {(props) => (
          <select {...props} ref={focus} value={version} onChange={(event) => change({ version: event.target.value })}>
            {!listed && <option value={version}>{version}</option>}
            {versions.map((known) => (
              <option key={known.version} value={known.version}>
                {known.version}
              </option>
            ))}
          </select>
        )}
      </FormField>
      {found ? (
        <SchemaForm
          key={`${plugin} ${version}`}
          schema={found.paramsSchema}
          pointer="/condition/params"
          value={params}
          change={(next) => change({ params: next })}
          label={t("editor.params")}
          names={names}
        />
      ) : (
        <Load from={read}>{() => null}</Load>
      )}
    </>
  );
}
