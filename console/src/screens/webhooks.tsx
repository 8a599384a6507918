// Webhooks: endpoints, their deliveries by status, and redrives of one or of all that are parked.
import { useState } from "react";
import { type Schemas, api, ok } from "../api/client";
import { useT, useValue } from "../messages";
import { Link, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Badge, Dialog, Facts, Field, Id, Json, Page, ProblemBox, Section, Time } from "../ui/parts";

export default function Webhooks() {
  const [, id] = useRoute().parts;
  return id === undefined ? <EndpointList /> : <EndpointPage key={id} id={id} />;
}

function EndpointList() {
  const t = useT();
  return (
    <Page title={t("nav.webhooks")} curl="/webhook-endpoints">
      <List<Schemas["Endpoint"]>
        label={t("nav.webhooks")}
        from=""
        read={(pageToken) => ok(api.GET("/webhook-endpoints", { params: { query: { pageSize: 50, pageToken } } }))}
        id={(endpoint) => endpoint.id}
        empty={t("webhooks.empty")}
        columns={[
          { label: t("name"), cell: (endpoint) => <Link to={to(["webhooks", endpoint.id])}>{endpoint.name}</Link> },
          { label: t("state"), cell: (endpoint) => <Badge group="state" value={endpoint.state} /> },
          { label: "URL", cell: (endpoint) => <code className="wrap">{endpoint.url}</code> },
          { label: t("webhook.types"), cell: (endpoint) => endpoint.types.join(", ") },
          { label: t("webhook.pause-reason"), cell: (endpoint) => endpoint.pauseReason ?? "–" },
        ]}
      />
    </Page>
  );
}

function EndpointPage({ id }: { id: string }) {
  const t = useT();
  const v = useValue();
  const may = useMay();
  const action = useAction();
  const [{ status }, setFilters] = useFilters(["status"]);
  const [redriven, setRedriven] = useState<string>();
  const [turn, setTurn] = useState(0);
  const [shown, setShown] = useState<string>();
  const path = { id };
  const found = useData(`endpoint ${id}`, () => ok(api.GET("/webhook-endpoints/{id}", { params: { path } })));
  const writes = may("webhooks:write");
  const query = status === "" ? {} : { status: status as Schemas["DeliveryStatus"] };
  const redrive = (messageId?: string) =>
    void action.run(async () => {
      if (messageId === undefined) {
        const { redriven: count } = await ok(api.POST("/webhook-endpoints/{id}/redrive", { params: { path } }));
        setRedriven(t("webhook.redriven", { count }));
      } else {
        await ok(api.POST("/webhook-endpoints/{id}/deliveries/{messageId}/redrive", { params: { path: { id, messageId } } }));
        setRedriven(t("webhook.redriven", { count: 1 }));
      }
      setTurn((before) => before + 1);
    });
  const set = (state: Schemas["EndpointState"]) =>
    void action.run(async () => {
      await ok(api.PATCH("/webhook-endpoints/{id}", { params: { path }, body: { state } }));
      found.reload();
    });
  return (
    <Load from={found}>
      {(endpoint) => (
        <Page title={endpoint.name} curl={`/webhook-endpoints/${id}/deliveries${to([], query).slice(1)}`}>
          <Facts
            items={[
              ["state", <Badge group="state" value={endpoint.state} />],
              ["webhook.pause-reason", endpoint.pauseReason],
              ["webhook.url", <code className="wrap">{endpoint.url}</code>],
              ["webhook.types", endpoint.types.join(", ")],
              ["webhook.acknowledges", endpoint.acknowledges ? t("yes") : t("no")],
              ["changed", <Time at={endpoint.updatedAt} />],
            ]}
          />
          {writes && (
            <div className="actions">
              <button type="button" disabled={action.busy} onClick={() => redrive()}>
                {t("webhook.redrive-all")}
              </button>
              <button type="button" disabled={action.busy} onClick={() => set(endpoint.state === "ACTIVE" ? "PAUSED" : "ACTIVE")}>
                {endpoint.state === "ACTIVE" ? t("webhook.pause") : t("webhook.resume")}
              </button>
            </div>
          )}
          {redriven && <p role="status">{redriven}</p>}
          {action.problem && <ProblemBox problem={action.problem} />}
          <Section title={t("webhook.deliveries")}>
            <div className="filters">
              <Field label={t("claim.status")}>
                {(field) => (
                  <select id={field} value={status} onChange={(event) => setFilters({ status: event.target.value })}>
                    <option value="">{t("any")}</option>
                    {["WAITING", "PENDING", "DELIVERED", "PARKED"].map((known) => (
                      <option key={known} value={known}>
                        {v("status", known)}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
            </div>
            <List<Schemas["Delivery"]>
              label={t("webhook.deliveries")}
              from={`${id} ${status} ${turn}`}
              read={(pageToken) => ok(api.GET("/webhook-endpoints/{id}/deliveries", { params: { path, query: { ...query, pageSize: 50, pageToken } } }))}
              id={(delivery) => delivery.messageId}
              empty={t("deliveries.empty")}
              columns={[
                { label: t("webhook.type"), cell: (delivery) => <code>{delivery.type}</code> },
                { label: t("claim.status"), cell: (delivery) => <Badge group="status" value={delivery.status} /> },
                { label: t("created"), cell: (delivery) => <Time at={delivery.createdAt} /> },
                { label: t("webhook.attempts"), cell: (delivery) => delivery.attempts, numeric: true },
                { label: t("webhook.answer"), cell: (delivery) => <Attempt of={delivery.lastAttempt} /> },
                { label: t("webhook.next"), cell: (delivery) => <Time at={delivery.nextAttemptAt} /> },
                {
                  label: t("actions"),
                  cell: (delivery) => (
                    <div className="actions">
                      <button type="button" className="quiet" onClick={() => setShown(delivery.messageId)}>
                        {t("show")}
                      </button>
                      {writes && delivery.status === "PARKED" && (
                        <button type="button" disabled={action.busy} onClick={() => redrive(delivery.messageId)}>
                          {t("webhook.redrive")}
                        </button>
                      )}
                    </div>
                  ),
                },
              ]}
            />
          </Section>
          {shown !== undefined && <Message id={id} messageId={shown} close={() => setShown(undefined)} />}
        </Page>
      )}
    </Load>
  );
}

function Attempt({ of }: { of: Schemas["LastAttempt"] | null | undefined }) {
  if (!of) return <>–</>;
  return (
    <>
      {of.status} {of.error} <span className="hint">{of.answer}</span>
    </>
  );
}

function Message({ id, messageId, close }: { id: string; messageId: string; close: () => void }) {
  const t = useT();
  const found = useData(messageId, () => ok(api.GET("/webhook-endpoints/{id}/deliveries/{messageId}", { params: { path: { id, messageId } } })));
  return (
    <Dialog title={t("webhook.message")} close={close}>
      <p>
        <Id id={messageId} />
      </p>
      <Load from={found}>{(delivery) => <Json value={delivery} label={t("webhook.message")} />}</Load>
    </Dialog>
  );
}
