// What needs a person: releases, held claims, stock and budgets that end, quarantined plugins, paused webhooks. Each card reads one
// page, so home is as fast with many events as with few; a card that looks at a part of them says so.
import type { ReactElement } from "react";
import { api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, to } from "../../router";
import { useMay, useUser } from "../../session";
import { Load, useData } from "../../ui/data";
import { Badge, Empty, Id, Page, Section, Time } from "../../ui/parts";
import { Reasons } from "../../ui/reasons";
import { rewardLabel } from "../rewards";
import { type Ending, WEEK_MS, endingBudgets, runningEvents } from "./events";

const PAGE = 100;
const LOW = 0.1;

export default function Home() {
  const t = useT();
  const may = useMay();
  const me = useUser().id;
  return (
    <Page title={t("nav.home")}>
      {may("releases:read") && (
        <Card
          title={may("releases:approve") ? "home.to-approve" : "home.in-review"}
          all={to(["releases"], { state: "REVIEW" })}
          read={async () => {
            const { items } = await ok(api.GET("/releases", { params: { query: { state: "REVIEW", pageSize: PAGE } } }));
            return may("releases:approve") ? items.filter(({ authors }) => !authors.includes(me)) : items;
          }}
        >
          {(release) => (
            <li key={release.id}>
              <Link to={to(["releases", release.id])}>{release.title}</Link> <Time at={release.updatedAt} />
            </li>
          )}
        </Card>
      )}
      {may("releases:read") && (
        <Card title="home.held-releases" all={to(["releases"], { state: "HELD" })} read={async () => (await ok(api.GET("/releases", { params: { query: { state: "HELD", pageSize: PAGE } } }))).items}>
          {(release) => (
            <li key={release.id}>
              <Badge group="phase" value={release.state} /> <Link to={to(["releases", release.id])}>{release.title}</Link> {release.reason}
            </li>
          )}
        </Card>
      )}
      {may("audit:read") && (
        <Card title="home.held" all={to(["claims"], { status: "HELD" })} read={async () => (await ok(api.GET("/reward-requests", { params: { query: { status: "HELD", pageSize: SHOWN } } }))).items}>
          {(claim) => (
            <li key={claim.id}>
              <Id id={claim.id} to={to(["claims", claim.id])} /> <Time at={claim.receivedAt} /> <Reasons reasons={claim.reasons} />
            </li>
          )}
        </Card>
      )}
      {may("events:read") && (
        <Card title="home.ending" hint={t("home.ending-hint", { most: PAGE })} all={to(["events"], { active: "true" })} read={async () => (await runningEvents(new Date())).filter(({ endDate }) => Date.parse(endDate) < Date.now() + WEEK_MS)}>
          {(event) => (
            <li key={event.id}>
              <Link to={to(["events", event.id])}>{event.title}</Link> <Time at={event.endDate} zone={event.timeZone} />
            </li>
          )}
        </Card>
      )}
      {may("events:read") && (
        <Card<Ending> title="home.budgets" hint={t("home.budgets-hint")} all={to(["events"], { active: "true" })} read={async () => endingBudgets(await runningEvents(new Date()), new Date())}>
          {({ event, usedPercent, at }) => (
            <li key={event.id}>
              <Link to={to(["events", event.id])}>{event.title}</Link> {t("home.budget-used", { percent: usedPercent })} <Time at={at} zone={event.timeZone} />
            </li>
          )}
        </Card>
      )}
      {may("rewards:read") && (
        <Card
          title="home.low-stock"
          hint={t("home.low-stock-hint", { most: PAGE })}
          all="/rewards"
          read={async () => {
            const { items } = await ok(api.GET("/rewards", { params: { query: { pageSize: PAGE } } }));
            return items.filter(({ stock, stockRemaining }) => typeof stock === "number" && stock > 0 && typeof stockRemaining === "number" && stockRemaining < stock * LOW);
          }}
        >
          {(reward) => (
            <li key={reward.id}>
              <Link to={to(["rewards", reward.id])}>{rewardLabel(reward)}</Link> {t("reward.left", { left: reward.stockRemaining ?? 0, stock: reward.stock ?? 0 })}
            </li>
          )}
        </Card>
      )}
      {may("plugins:read") && (
        <Card title="home.quarantined" all={to(["plugins"], { state: "QUARANTINED" })} read={async () => (await ok(api.GET("/plugins", { params: { query: { state: "QUARANTINED", pageSize: SHOWN } } }))).items}>
          {(version) => (
            <li key={version.digest}>
              <Link to={to(["plugins", version.name, version.version])}>{version.title || version.name}</Link> {version.version}
            </li>
          )}
        </Card>
      )}
      {may("webhooks:read") && (
        <Card title="home.paused" all="/webhooks" read={async () => (await ok(api.GET("/webhook-endpoints", { params: { query: { pageSize: PAGE } } }))).items.filter(({ state }) => state === "PAUSED")}>
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

const SHOWN = 5;
type HomeKey =
  | "home.held"
  | "home.quarantined"
  | "home.paused"
  | "home.to-approve"
  | "home.in-review"
  | "home.held-releases"
  | "home.ending"
  | "home.budgets"
  | "home.low-stock";

function Card<T>(props: { title: HomeKey; hint?: string; all: string; read: () => Promise<T[]>; children: (row: T) => ReactElement }) {
  const { title, hint, all, read, children } = props;
  const t = useT();
  const rows = useData(title, read);
  return (
    <Section title={t(title)} actions={<Link to={all}>{t("home.all")}</Link>}>
      <Load from={rows}>
        {(found) => (
          <>
            {found.length === 0 ? <Empty>{t("home.nothing")}</Empty> : <ul className="rows">{found.slice(0, SHOWN).map(children)}</ul>}
            {found.length > SHOWN && <p className="hint">{t("home.others", { count: found.length - SHOWN })}</p>}
          </>
        )}
      </Load>
      {hint && <p className="hint">{hint}</p>}
    </Section>
  );
}
