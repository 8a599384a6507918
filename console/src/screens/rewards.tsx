// Rewards: stock, and the codes of those that have unique ones.
import { type FormEvent, useState } from "react";
import { type Schemas, api, ok, sendBytes } from "../api/client";
import { useT } from "../messages";
import { Link, to, useFilters, useRoute } from "../router";
import { useMay } from "../session";
import { List, Load, useAction, useData } from "../ui/data";
import { Facts, Field, Page, ProblemBox, Section, Time } from "../ui/parts";

type Reward = Schemas["Reward"];

export default function Rewards() {
  const [, id] = useRoute().parts;
  return id === undefined ? <RewardList /> : <RewardPage key={id} id={id} />;
}

export function rewardLabel(reward: Reward): string {
  return reward.name || `${reward.type} ${reward.id.slice(-8)}`;
}

export function Stock({ reward }: { reward: Reward }) {
  const t = useT();
  if (reward.stock === null || reward.stock === undefined) return <>{t("reward.unlimited")}</>;
  const left = reward.stockRemaining ?? 0;
  return (
    <label className={left * 10 < reward.stock ? "low" : undefined}>
      {t("reward.left", { left, stock: reward.stock })} <meter value={left} max={Math.max(reward.stock, 1)} />
    </label>
  );
}

function RewardList() {
  const t = useT();
  const [filters, setFilters] = useFilters(["type", "name"]);
  const query = { ...(filters.type === "" ? {} : { type: filters.type }), ...(filters.name === "" ? {} : { name: filters.name }) };
  const search = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilters({ type: String(form.get("type") ?? "").trim(), name: String(form.get("name") ?? "").trim() });
  };
  const key = JSON.stringify(query);
  return (
    <Page title={t("nav.rewards")} curl={`/rewards${to([], query).slice(1)}`}>
      <form className="filters" onSubmit={search} key={key}>
        <Field label={t("reward.type")}>{(id) => <input id={id} name="type" defaultValue={filters.type} placeholder="COUPON" />}</Field>
        <Field label={t("name")}>{(id) => <input id={id} name="name" defaultValue={filters.name} />}</Field>
        <button type="submit">{t("search")}</button>
      </form>
      <List<Reward>
        label={t("nav.rewards")}
        from={key}
        read={(pageToken) => ok(api.GET("/rewards", { params: { query: { ...query, pageSize: 50, pageToken } } }))}
        id={(reward) => reward.id}
        empty={t("rewards.empty")}
        columns={[
          { label: t("name"), cell: (reward) => <Link to={to(["rewards", reward.id])}>{rewardLabel(reward)}</Link> },
          { label: t("reward.type"), cell: (reward) => <code>{reward.type}</code> },
          { label: t("reward.value"), cell: (reward) => reward.value ?? "–", numeric: true },
          { label: t("reward.stock"), cell: (reward) => <Stock reward={reward} /> },
          { label: t("reward.codes"), cell: (reward) => (reward.codes ? t("yes") : t("no")) },
          { label: t("changed"), cell: (reward) => <Time at={reward.updatedAt} /> },
        ]}
      />
    </Page>
  );
}

function RewardPage({ id }: { id: string }) {
  const t = useT();
  const may = useMay();
  const found = useData(`reward ${id}`, () => ok(api.GET("/rewards/{id}", { params: { path: { id } } })));
  return (
    <Load from={found}>
      {(reward) => (
        <Page title={rewardLabel(reward)} curl={`/rewards/${id}`} actions={may("audit-log:read") && <Link to={to(["audit"], { target: id })}>{t("nav.audit")}</Link>}>
          <Facts
            items={[
              ["reward.type", <code>{reward.type}</code>],
              ["reward.value", reward.value],
              ["reward.item", reward.itemId],
              ["reward.stock", <Stock reward={reward} />],
              ["reward.description", reward.description],
              ["event.revision", reward.revision],
              ["changed", <Time at={reward.updatedAt} />],
            ]}
          />
          {may("rewards:write") && reward.stock !== null && reward.stock !== undefined && !reward.codes && <Restock reward={reward} done={found.reload} />}
          {reward.codes && <CodePool id={id} done={found.reload} />}
        </Page>
      )}
    </Load>
  );
}

function Restock({ reward, done }: { reward: Reward; done: () => void }) {
  const t = useT();
  const [stock, setStock] = useState(String(reward.stock));
  const action = useAction();
  const save = (event: FormEvent) => {
    event.preventDefault();
    const { type, name, description, duration, itemId, value, codes, codesLowWater, codesReturn } = reward;
    void action.run(async () => {
      const body = { type, name, description, duration, itemId, value, codes, codesLowWater, codesReturn, stock: Number(stock) };
      await ok(api.PUT("/rewards/{id}", { params: { path: { id: reward.id }, header: { "If-Match": `"${reward.revision}"` } }, body }));
      done();
    });
  };
  return (
    <Section title={t("reward.stock")}>
      <form className="filters" onSubmit={save}>
        <Field label={t("reward.new-stock")}>{(id) => <input id={id} type="number" min={0} required value={stock} onChange={(event) => setStock(event.target.value)} />}</Field>
        <button type="submit" className="primary" disabled={action.busy}>
          {t("save")}
        </button>
      </form>
      {action.problem && <ProblemBox problem={action.problem} />}
    </Section>
  );
}

function CodePool({ id, done }: { id: string; done: () => void }) {
  const t = useT();
  const may = useMay();
  const [file, setFile] = useState<File>();
  const [result, setResult] = useState<Schemas["ImportedCodes"]>();
  const action = useAction();
  const counts = useData(`codes ${id}`, () => ok(api.GET("/rewards/{id}/codes", { params: { path: { id } } })));
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (!file) return;
    const type = file.name.endsWith(".csv") ? "text/csv" : file.name.endsWith("json") ? "application/x-ndjson" : "text/plain";
    void action.run(async () => {
      setResult(await sendBytes<Schemas["ImportedCodes"]>(`/rewards/${id}/codes`, type, file));
      counts.reload();
      done();
    });
  };
  return (
    <Section title={t("reward.codes")}>
      <Load from={counts}>{({ remaining, total, low }) => <p className={low ? "low" : undefined}>{t("reward.left", { left: remaining, stock: total })}</p>}</Load>
      {may("rewards:write") && (
        <form className="filters" onSubmit={send}>
          <Field label={t("codes.file")} hint={t("codes.hint")}>
            {(field) => <input id={field} type="file" accept=".csv,.txt,.ndjson,.jsonl" required onChange={(event) => setFile(event.target.files?.[0])} />}
          </Field>
          <button type="submit" className="primary" disabled={action.busy}>
            {t("codes.import")}
          </button>
        </form>
      )}
      {result && <p role="status">{t("codes.imported", { imported: result.imported, duplicates: result.duplicates })}</p>}
      {action.problem && <ProblemBox problem={action.problem} />}
    </Section>
  );
}
