// Claims: a list with its filters in the URL, and one claim with its timeline and its receipt, verified in this browser.
import { type FormEvent, useState } from "react";
import { verifyReceipt } from "meed-client/receipts";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { Link, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Badge, Copy, Facts, Field, Id, Json, Page, ProblemBox, Section, Time } from "../ui/parts";
import { FactTable, ProgressBars, Reasons } from "../ui/reasons";

type Claim = Schemas["RewardRequest"];
const STATUSES = ["RECEIVED", "GRANTED", "HELD", "REJECTED", "FAILED", "REVERSED"] as const;
const FILTERS = ["status", "user", "event", "from", "to"] as const;
export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export default function Claims() {
  const [, id] = useRoute().parts;
  return id === undefined ? <ClaimList /> : <ClaimPage key={id} id={id} />;
}

/** A user by id or by external id, as filters name it. */
export function userFilter(user: string): { userId?: string; externalUserId?: string } {
  const external = user.startsWith("external:") ? user.slice("external:".length) : user;
  if (user === "") return {};
  return UUID.test(user) ? { userId: user } : { externalUserId: external };
}

function instant(day: string): string | undefined {
  return day === "" ? undefined : new Date(`${day}T00:00`).toISOString();
}

function ClaimList() {
  const t = useT();
  const v = useValue();
  const [filters, setFilters] = useFilters(FILTERS);
  const query = {
    ...userFilter(filters.user),
    ...(filters.status === "" ? {} : { status: filters.status as Claim["status"] }),
    ...(filters.event === "" ? {} : { eventId: filters.event }),
    ...(instant(filters.from) ? { from: instant(filters.from) } : {}),
    ...(instant(filters.to) ? { to: instant(filters.to) } : {}),
  };
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilters(Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])));
  };
  const key = JSON.stringify(query);
  return (
    <Page title={t("nav.claims")} curl={`/reward-requests${to([], query as Record<string, string>).slice(1)}`}>
      <form className="filters" onSubmit={search} key={key}>
        <Field label={t("claim.status")}>
          {(id) => (
            <select id={id} name="status" defaultValue={filters.status}>
              <option value="">{t("any")}</option>
              {STATUSES.map((status) => (
                <option key={status} value={status}>
                  {v("status", status)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t("claim.user")}>{(id) => <input id={id} name="user" defaultValue={filters.user} placeholder={t("user.hint")} />}</Field>
        <Field label={t("claim.event")}>{(id) => <input id={id} name="event" defaultValue={filters.event} placeholder="UUID" />}</Field>
        <Field label={t("from")}>{(id) => <input id={id} name="from" type="date" defaultValue={filters.from} />}</Field>
        <Field label={t("until")}>{(id) => <input id={id} name="to" type="date" defaultValue={filters.to} />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <ClaimTable query={query} empty={t("claims.empty")} />
    </Page>
  );
}

export function ClaimTable({ query, empty }: { query: object; empty: string }) {
  const t = useT();
  return (
    <List<Claim>
      label={t("nav.claims")}
      from={JSON.stringify(query)}
      read={(pageToken) => ok(api.GET("/reward-requests", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
      id={(claim) => claim.id}
      empty={empty}
      columns={[
        { label: t("claim.id"), cell: (claim) => <Id id={claim.id} to={to(["claims", claim.id])} /> },
        { label: t("claim.status"), cell: (claim) => <Badge group="status" value={claim.status} /> },
        { label: t("claim.received"), cell: (claim) => <Time at={claim.receivedAt} /> },
        { label: t("claim.user"), cell: (claim) => <Id id={claim.userId} to={to(["users", claim.userId])} /> },
        { label: t("claim.event"), cell: (claim) => <Id id={claim.eventId} to={to(["events", claim.eventId])} /> },
        { label: t("claim.reasons"), cell: (claim) => <Reasons reasons={claim.reasons} /> },
      ]}
    />
  );
}

function ClaimPage({ id }: { id: string }) {
  const t = useT();
  const path = { params: { path: { id } } };
  const claim = useData(`claim ${id}`, () => ok(api.GET("/reward-requests/{id}", path)));
  const receipt = useData(`receipt ${id} ${claim.data?.status}`, () => ok(api.GET("/reward-requests/{id}/receipt", path)));
  return (
    <Page title={t("claim.title", { id: id.slice(-8) })} curl={`/reward-requests/${id}`}>
      <Load from={claim}>
        {(data) => (
          <>
            <Facts
              items={[
                ["claim.status", <Badge group="status" value={data.status} />],
                ["claim.user", <Id id={data.userId} to={to(["users", data.userId])} />],
                ["claim.event", <Id id={data.eventId} to={to(["events", data.eventId])} />],
                ["claim.period", data.period],
                ["claim.retry", <Time at={data.retryAt} />],
                ["why.title", <Link to={to(["why"], { user: data.userId, event: data.eventId })}>{t("why.ask")}</Link>],
              ]}
            />
            <Section title={t("claim.reasons")}>
              <Reasons reasons={data.reasons} empty={t("reasons.none")} />
              <ProgressBars progress={data.progress} />
            </Section>
            <Timeline claim={data} />
            <Change claim={data} done={claim.reload} />
          </>
        )}
      </Load>
      <Load from={receipt}>{(signed) => <ReceiptView id={id} signed={signed} />}</Load>
    </Page>
  );
}

function Timeline({ claim }: { claim: Claim }) {
  const t = useT();
  const v = useValue();
  const steps: [string, string | null | undefined, string?][] = [[t("timeline.received"), claim.receivedAt]];
  if (claim.review) steps.push([t("timeline.held"), claim.review.heldAt], [t("timeline.reviewed"), claim.review.reviewedAt, claim.review.reason ?? undefined]);
  steps.push([t("timeline.decided"), claim.decidedAt, v("status", claim.status)]);
  for (const grant of claim.grants) {
    const amount = t("timeline.grant", { quantity: grant.quantity, type: grant.reward.type });
    const note = [amount, grant.fulfilment.reference, grant.fulfilment.reason].filter(Boolean).join(" · ");
    steps.push([v("fulfilment", grant.fulfilment.state), grant.fulfilment.changedAt, note]);
  }
  if (claim.reversal) steps.push([t("timeline.reversed"), claim.reversal.reversedAt, claim.reversal.reason]);
  return (
    <Section title={t("timeline.title")}>
      <ol className="timeline">
        {steps.map(([label, at, note], index) => (
          <li key={index}>
            <strong>{label}</strong> <Time at={at} />
            {note !== undefined && <div className="hint">{note}</div>}
          </li>
        ))}
      </ol>
    </Section>
  );
}

/** Reviews and reversals, with the reason that the user and the auditors see. */
function Change({ claim, done }: { claim: Claim; done: () => void }) {
  const t = useT();
  const may = useMay();
  const [reason, setReason] = useState("");
  const action = useAction();
  const held = claim.status === "HELD" && may("reviews:write");
  const granted = claim.status === "GRANTED" && may("reversals:write");
  if (!held && !granted) return null;
  const options = { params: { path: { id: claim.id } }, body: { reason } };
  const change = (send: () => Promise<unknown>) =>
    void action.run(async () => {
      await send();
      setReason("");
      done();
    });
  return (
    <Section title={held ? t("review.title") : t("reversal.title")}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          change(() => (held ? ok(api.POST("/reward-requests/{id}/approval", options)) : ok(api.POST("/reward-requests/{id}/reversal", options))));
        }}
      >
        <Field label={t("review.reason")} hint={t("review.reason-hint")}>
          {(id) => <textarea id={id} required value={reason} onChange={(event) => setReason(event.target.value)} />}
        </Field>
        {action.problem && <ProblemBox problem={action.problem} />}
        <div className="actions">
          <button type="submit" className={held ? "primary" : "danger"} disabled={action.busy}>
            {held ? t("review.approve") : t("reversal.submit")}
          </button>
          {held && (
            <button type="button" className="danger" disabled={action.busy || reason === ""} onClick={() => change(() => ok(api.POST("/reward-requests/{id}/denial", options)))}>
              {t("review.deny")}
            </button>
          )}
        </div>
      </form>
    </Section>
  );
}

type Verified = { good: true; keyId: string } | { good: false; fault: string };

function ReceiptView({ id, signed }: { id: string; signed: Schemas["SignedReceipt"] }) {
  const t = useT();
  const [verified, setVerified] = useState<Verified>();
  const verify = async () => {
    try {
      const keys = await ok(api.GET("/.well-known/receipt-keys.json"));
      const { keyId } = await verifyReceipt(signed, keys);
      setVerified({ good: true, keyId });
    } catch (error) {
      setVerified({ good: false, fault: error instanceof Error ? error.message : String(error) });
    }
  };
  const plugin = signed.terms?.plugin;
  const download = () => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(signed)], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: `receipt-${id}.json` });
    link.click();
    URL.revokeObjectURL(url);
  };
  return (
    <Section
      title={t("receipt.title")}
      actions={
        <>
          <button type="button" onClick={() => void verify()}>
            {t("receipt.verify")}
          </button>
          <button type="button" className="quiet" onClick={download}>
            {t("receipt.download")}
          </button>
          {plugin && <Copy label={t("receipt.replay")} text={`meed replay receipt-${id}.json --plugin ${plugin.name}-${plugin.version}.wasm --keys receipt-keys.json`} />}
        </>
      }
    >
      <p role="status" className={verified && !verified.good ? "problem" : "hint"}>
        {verified === undefined ? t("receipt.unverified") : verified.good ? t("receipt.verified", { key: verified.keyId }) : t("receipt.false", { fault: verified.fault })}
      </p>
      <Facts items={[["receipt.digest", <code className="wrap">{signed.digest}</code>], ["receipt.key", <code className="wrap">{signed.signature.keyId}</code>]]} />
      {signed.terms && signed.receipt?.evaluation && <FactTable queries={signed.terms.queries} facts={signed.receipt.evaluation.facts} />}
      <details>
        <summary>{t("receipt.json")}</summary>
        <Json value={signed} label={t("receipt.title")} />
      </details>
    </Section>
  );
}
