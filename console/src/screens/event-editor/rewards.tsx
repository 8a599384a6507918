// The rewards of the event with their stock, and how many of them one claim may give.
import { useState } from "react";
import { type Schemas, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { List, Load, useData } from "../../ui/data";
import { Id, Section } from "../../ui/parts";
import { FormField, FormGroup } from "../../ui/form";
import { Stock, rewardLabel } from "../rewards";
import type { Draft } from "./draft";

type Reward = Schemas["Reward"];

export function RewardsPart({ draft, change, known, learn }: { draft: Draft; change: (part: Partial<Draft>) => void; known: Reward[]; learn: (reward: Reward) => void }) {
  const t = useT();
  const [adding, setAdding] = useState(draft.rewardIds.length === 0);
  const [filters, setFilters] = useState({ type: "", name: "" });
  const [asked, setAsked] = useState(filters);
  const { rewardIds } = draft;
  const query = { ...(asked.type === "" ? {} : { type: asked.type }), ...(asked.name === "" ? {} : { name: asked.name }) };
  const search = () => setAsked({ type: filters.type.trim(), name: filters.name.trim() });
  const enter = (event: { key: string; preventDefault: () => void }) => {
    // Enter in a filter must not save the event.
    if (event.key !== "Enter") return;
    event.preventDefault();
    search();
  };
  return (
    <Section title={t("event.rewards")}>
      <FormGroup pointer="/rewardIds" label={t("editor.rewards-chosen")} hint={t("editor.rewards-hint")} required>
        <ul className="rows">
          {rewardIds.map((id) => (
            <li key={id} className="row">
              <ChosenReward id={id} known={known.find((reward) => reward.id === id)} learn={learn} />
              <button type="button" onClick={() => change({ rewardIds: rewardIds.filter((other) => other !== id) })}>
                {t("form.remove", { name: nameOf(known, id) })}
              </button>
            </li>
          ))}
        </ul>
      </FormGroup>
      {!adding ? (
        <button type="button" onClick={() => setAdding(true)}>
          {t("editor.add-reward")}
        </button>
      ) : (
        <>
          <div className="filters">
            <div className="field">
              <label htmlFor="reward-type">{t("reward.type")}</label>
              <input id="reward-type" value={filters.type} placeholder="COUPON" onKeyDown={enter} onChange={(event) => setFilters({ ...filters, type: event.target.value })} />
            </div>
            <div className="field">
              <label htmlFor="reward-name">{t("name")}</label>
              <input id="reward-name" value={filters.name} onKeyDown={enter} onChange={(event) => setFilters({ ...filters, name: event.target.value })} />
            </div>
            <button type="button" onClick={search}>
              {t("search")}
            </button>
          </div>
          <List<Reward>
            label={t("nav.rewards")}
            from={JSON.stringify(query)}
            read={(pageToken) => ok(api.GET("/rewards", { params: { query: { ...query, pageSize: 20, pageToken } } }))}
            id={(reward) => reward.id}
            empty={t("rewards.empty")}
            columns={[
              { label: t("name"), cell: (reward) => rewardLabel(reward) },
              { label: t("reward.type"), cell: (reward) => <code>{reward.type}</code> },
              { label: t("reward.value"), cell: (reward) => reward.value ?? "–", numeric: true },
              { label: t("reward.stock"), cell: (reward) => <Stock reward={reward} /> },
              {
                label: t("actions"),
                cell: (reward) => (
                  <button
                    type="button"
                    disabled={rewardIds.includes(reward.id)}
                    onClick={() => {
                      learn(reward);
                      change({ rewardIds: [...rewardIds, reward.id] });
                    }}
                  >
                    {t("editor.add", { name: rewardLabel(reward) })}
                  </button>
                ),
              },
            ]}
          />
        </>
      )}
      <FormField pointer="/maxQuantity" label={t("editor.max-quantity")} hint={t("editor.max-quantity-hint")}>
        {(props) => <input {...props} className="short" inputMode="numeric" value={draft.maxQuantity} onChange={(event) => change({ maxQuantity: event.target.value })} />}
      </FormField>
    </Section>
  );
}

function nameOf(known: Reward[], id: string): string {
  const reward = known.find((one) => one.id === id);
  return reward ? rewardLabel(reward) : id.slice(-8);
}

function ChosenReward({ id, known, learn }: { id: string; known: Reward | undefined; learn: (reward: Reward) => void }) {
  const found = useData(known ? "" : id, async () => {
    if (known) return known;
    const reward = await ok(api.GET("/rewards/{id}", { params: { path: { id } } }));
    learn(reward);
    return reward;
  });
  const reward = known ?? found.data;
  if (!reward) return <Load from={found}>{() => <Id id={id} />}</Load>;
  return (
    <span>
      <strong>{rewardLabel(reward)}</strong> <code>{reward.type}</code> <Stock reward={reward} />
    </span>
  );
}
