// The approval of one hash, by a second person. Who cannot approve sees why.
import { type Schemas, api, ok } from "../../api/client";
import { type Key, useT } from "../../messages";
import { to } from "../../router";
import { useMay, useUser } from "../../session";
import { Facts, Id, Section, Time } from "../../ui/parts";
import type { Change } from "./page";

type Release = Schemas["Release"];

function approve({ id, hash }: Release): Promise<unknown> {
  return ok(api.POST("/releases/{id}/approval", { params: { path: { id } }, body: { hash } }));
}

export function Approvals({ release, change, isStale }: { release: Release; change: Change; isStale: boolean }) {
  const t = useT();
  const may = useMay();
  const me = useUser().id;
  const { hash, state, plan, approvedBy } = release;
  const isWaiting = state === "REVIEW";
  const mayApprove = may("releases:approve");
  const obstacle: Key | undefined = !isWaiting ? undefined : !mayApprove ? "release.role-cannot" : release.authors.includes(me) ? "release.own" : isStale ? "release.stale" : undefined;
  return (
    <Section title={t("release.approvals")}>
      <Facts
        items={[
          ["release.approved-by", approvedBy ? <Id id={approvedBy} to={to(["users", approvedBy])} /> : isWaiting || state === "DRAFT" ? t("release.not-approved") : "–"],
          ["release.approved-at", <Time at={release.approvedAt} />],
          ["release.activation", plan.activateWhenApproved ? t("release.when-approved") : plan.activateAt ? <Time at={plan.activateAt} /> : t("release.by-hand")],
        ]}
      />
      {isWaiting && mayApprove && (
        <>
          <p className="hint" id="approve-hint">
            {t("release.approve-hint", { hash: hash.slice(0, 19) })}
          </p>
          <button
            type="button"
            className="primary"
            aria-describedby={obstacle ? "approve-obstacle" : "approve-hint"}
            disabled={change.busy || obstacle !== undefined}
            onClick={() => void change.run(() => approve(release))}
          >
            {t("release.approve")}
          </button>
        </>
      )}
      {obstacle && <p id="approve-obstacle">{t(obstacle)}</p>}
    </Section>
  );
}
