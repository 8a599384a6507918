// What needs a person: held claims, quarantined plugins, paused webhooks.
import type { ReactElement } from "react";
import { api, ok } from "../api/client";
import { useT } from "../messages";
import { Link, to } from "../router";
import { useMay } from "../session";
import { Load, useData } from "../ui/data";
import { Empty, Id, Page, Section, Time } from "../ui/parts";
import { Reasons } from "../ui/reasons";

export default function Home() {
  const t = useT();
  const may = useMay();
  return (
    <Page title={t("nav.home")}>
      {may("audit:read") && (
        <Card title="home.held" all={to(["claims"], { status: "HELD" })} read={async () => (await ok(api.GET("/reward-requests", { params: { query: { status: "HELD", pageSize: 5 } } }))).items}>
          {(claim) => (
            <li key={claim.id}>
              <Id id={claim.id} to={to(["claims", claim.id])} /> <Time at={claim.receivedAt} /> <Reasons reasons={claim.reasons} />
            </li>
          )}
        </Card>
      )}
      {may("plugins:read") && (
        <Card title="home.quarantined" all={to(["plugins"], { state: "QUARANTINED" })} read={async () => (await ok(api.GET("/plugins", { params: { query: { state: "QUARANTINED", pageSize: 5 } } }))).items}>
          {(version) => (
            <li key={version.digest}>
              <Link to={to(["plugins", version.name, version.version])}>{version.title || version.name}</Link> {version.version}
            </li>
          )}
        </Card>
      )}
      {may("webhooks:read") && (
        <Card title="home.paused" all="/webhooks" read={async () => (await ok(api.GET("/webhook-endpoints", { params: { query: { pageSize: 100 } } }))).items.filter(({ state }) => state === "PAUSED")}>
          {(endpoint) => (
            <li key={endpoint.id}>
              <Link to={to(["webhooks", endpoint.id])}>{endpoint.name}</Link> {endpoint.pauseReason}
            </li>
          )}
        </Card>
      )}
    </Page>
  );
}

type HomeKey = "home.held" | "home.quarantined" | "home.paused";

function Card<T>({ title, all, read, children }: { title: HomeKey; all: string; read: () => Promise<T[]>; children: (row: T) => ReactElement }) {
  const t = useT();
  const rows = useData(title, read);
  return (
    <Section title={t(title)} actions={<Link to={all}>{t("home.all")}</Link>}>
      <Load from={rows}>{(found) => (found.length === 0 ? <Empty>{t("home.nothing")}</Empty> : <ul className="rows">{found.map(children)}</ul>)}</Load>
    </Section>
  );
}
