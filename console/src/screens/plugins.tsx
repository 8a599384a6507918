// Plugins: versions and their states.
import { type Schemas, api, ok } from "../api/client";
import { useLanguage, useT, useValue } from "../messages";
import { Link, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Badge, Facts, Field, Id, Json, Page, ProblemBox, Section, Time } from "../ui/parts";
import { textsOf } from "../ui/plugin-title";
import { Upload } from "./plugin-upload";

type Version = Schemas["PluginVersion"];

export default function Plugins() {
  const [, name, version] = useRoute().parts;
  return name === undefined || version === undefined ? <PluginList name={name ?? ""} /> : <VersionPage key={`${name} ${version}`} name={name} version={version} />;
}

function PluginList({ name }: { name: string }) {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const [filters, setFilters] = useFilters(["state", "name"]);
  const named = filters.name || name;
  const query = { ...(filters.state === "" ? {} : { state: filters.state as Version["state"] }), ...(named === "" ? {} : { name: named }) };
  return (
    <Page title={t("nav.plugins")} curl={`/plugins${to([], query).slice(1)}`}>
      {may("plugins:write") && <Upload />}
      <div className="filters">
        <Field label={t("state")}>
          {(id) => (
            <select id={id} value={filters.state} onChange={(event) => setFilters({ state: event.target.value })}>
              <option value="">{t("any")}</option>
              {["ACTIVE", "DISABLED", "QUARANTINED"].map((state) => (
                <option key={state} value={state}>
                  {v("state", state)}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <List<Version>
        label={t("nav.plugins")}
        from={JSON.stringify(query)}
        read={(pageToken) => ok(api.GET("/plugins", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(plugin) => plugin.digest}
        empty={t("plugins.empty")}
        columns={[
          { label: t("name"), cell: (plugin) => <Link to={to(["plugins", plugin.name, plugin.version])}>{plugin.name}</Link> },
          { label: t("plugin.version"), cell: (plugin) => plugin.version },
          { label: t("event.title"), cell: (plugin) => <Title of={plugin} /> },
          { label: t("state"), cell: (plugin) => <Badge group="state" value={plugin.state} /> },
          { label: t("plugin.runs"), cell: (plugin) => plugin.runs, numeric: true },
          { label: t("plugin.failures"), cell: (plugin) => plugin.failures, numeric: true },
          { label: t("plugin.last-run"), cell: (plugin) => <Time at={plugin.lastRunAt} /> },
        ]}
      />
    </Page>
  );
}

function Title({ of }: { of: Version }) {
  return <>{textsOf(of, useLanguage()).title}</>;
}

function VersionPage({ name, version }: { name: string; version: string }) {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const action = useAction();
  const path = { name, version };
  const found = useData(`plugin ${name} ${version}`, () => ok(api.GET("/plugins/{name}/versions/{version}", { params: { path } })));
  const usage = useData(`usage ${name} ${version}`, () => ok(api.GET("/plugins/{name}/versions/{version}/usage", { params: { path } })));
  const url = `/plugins/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;
  const set = (state: "ACTIVE" | "DISABLED") =>
    void action.run(async () => {
      await ok(api.PATCH("/plugins/{name}/versions/{version}", { params: { path }, body: { state } }));
      found.reload();
    });
  return (
    <Page title={`${name} ${version}`} curl={url} actions={<a href={`${url}/module`} download={`${name}-${version}.wasm`}>{t("plugin.module")}</a>}>
      <Load from={found}>
        {(plugin) => (
          <>
            <h2>
              <Title of={plugin} />
            </h2>
            <p>{plugin.description}</p>
            <Facts
              items={[
                ["state", <Badge group="state" value={plugin.state} />],
                ["receipt.digest", <code className="wrap">{plugin.digest}</code>],
                ["plugin.signature", [v("signature", plugin.signature.state), plugin.signature.signer, plugin.signature.keyId].filter(Boolean).join(" · ")],
                ["plugin.size", t("bytes", { bytes: plugin.sizeBytes })],
                ["plugin.runs", plugin.runs],
                ["plugin.failures", plugin.failures],
                ["created", <Time at={plugin.createdAt} />],
                ["plugin.uploader", plugin.uploadedBy ? <Id id={plugin.uploadedBy} to={to(["users", plugin.uploadedBy])} /> : "–"],
              ]}
            />
            {may("plugins:write") && (
              <div className="actions">
                {plugin.state === "ACTIVE" ? (
                  <button type="button" className="danger" disabled={action.busy} onClick={() => set("DISABLED")}>
                    {t("plugin.disable")}
                  </button>
                ) : (
                  <button type="button" disabled={action.busy} onClick={() => set("ACTIVE")}>
                    {t("plugin.enable")}
                  </button>
                )}
              </div>
            )}
            {action.problem && <ProblemBox problem={action.problem} />}
            <Section title={t("plugin.params")}>
              <Json value={plugin.paramsSchema} label={t("plugin.params")} />
            </Section>
          </>
        )}
      </Load>
      <Section title={t("plugin.usage")}>
        <Load from={usage}>
          {({ events, fuel }) => (
            <>
              <p>
                <Link to={to(["events"], { plugin: name })}>{t("plugin.events", { count: events.count })}</Link>
              </p>
              {fuel && <p>{t("plugin.fuel", { p50: fuel.p50, p99: fuel.p99, runs: fuel.runs })}</p>}
            </>
          )}
        </Load>
      </Section>
      <Section title={t("plugin.history")}>
        <List<Schemas["HistoryEntry"]>
          label={t("plugin.history")}
          from={`${name} ${version}`}
          read={(pageToken) => ok(api.GET("/plugins/{name}/versions/{version}/history", { params: { path, query: { pageSize: 20, pageToken } } }))}
          id={(entry) => entry.at + entry.action}
          empty={t("home.nothing")}
          columns={[
            { label: t("audit.at"), cell: (entry) => <Time at={entry.at} /> },
            { label: t("audit.action"), cell: (entry) => v("action", entry.action) },
            { label: t("changed-by"), cell: (entry) => (entry.by ? <Id id={entry.by} to={to(["users", entry.by])} /> : "–") },
            { label: t("detail"), cell: (entry) => entry.detail ?? "–" },
          ]}
        />
      </Section>
    </Page>
  );
}
