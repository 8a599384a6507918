// One release: changes, evidence, conversation, approvals, schedule and ramp, and what one may do with it now.
import { useState } from "react";
import { type Problem, type Schemas, ProblemError, api, ok } from "../../api/client";
import { useT } from "../../messages";
import { Link, to } from "../../router";
import { useMay, useUser } from "../../session";
import { Load, problemFrom, useAction, useData } from "../../ui/data";
import { Badge, Facts, Id, Page, ProblemBox, Time } from "../../ui/parts";
import { useEvery } from "../../ui/watch";
import { Actions } from "./actions";
import { Approvals } from "./approvals";
import { Changes } from "./changes";
import { Conversation } from "./conversation";
import { Evidence } from "./evidence";
import { EventTitle } from "./event-title";
import { Ramp } from "./ramp";

type Release = Schemas["Release"];
/** Another person changed it meanwhile: what is shown is not what an action would be about. */
const MOVED = new Set(["release-hash", "release-changed", "release-state", "release-outdated"]);

export type Change = { busy: boolean; problem: Problem | undefined; run: (send: () => Promise<unknown>) => Promise<boolean> };

export function ReleasePage({ id }: { id: string }) {
  const t = useT();
  const found = useData(`release ${id}`, () => ok(api.GET("/releases/{id}", { params: { path: { id } } })));
  return <Load from={found}>{(release) => <Shown read={release} reload={found.reload} key={id} label={t("nav.releases")} />}</Load>;
}

function Shown({ read, reload, label }: { read: Release; reload: () => void; label: string }) {
  const t = useT();
  const may = useMay();
  const user = useUser();
  const action = useAction();
  const [turn, setTurn] = useState(0);
  const [newer, setNewer] = useState<number>();
  const { id } = read;
  const path = { params: { path: { id: read.eventId } } };
  const event = useData(`event of ${id} ${read.revision}`, () => ok(api.GET("/events/{id}", path)));
  const isRunning = read.state === "RAMPING" || read.state === "APPROVED" || read.state === "REVIEW";
  // A step, the guard or a colleague can change it at any time. What is read stays until the reader asks for the new one, so
  // that an approval is never of what appeared under the cursor.
  useEvery(isRunning ? 10_000 : undefined, async () => {
    const now = await ok(api.GET("/releases/{id}", { params: { path: { id } } }));
    if (now.revision !== read.revision || now.state !== read.state) setNewer(now.revision);
  });
  const again = () => {
    setNewer(undefined);
    setTurn((before) => before + 1);
    reload();
  };
  const change: Change = {
    busy: action.busy,
    problem: action.problem,
    run: async (send) => {
      let done = false;
      await action.run(async () => {
        try {
          await send();
          done = true;
        } catch (error) {
          const problem = problemFrom(error);
          if (MOVED.has(problem.code)) setNewer(0);
          throw error instanceof ProblemError ? error : new ProblemError(problem);
        }
        again();
      });
      return done;
    },
  };
  return (
    <Page
      title={read.title}
      curl={`/releases/${id}`}
      actions={
        <>
          <Link to="/releases">{label}</Link>
          {may("audit-log:read") && <Link to={to(["audit"], { target: id })}>{t("nav.audit")}</Link>}
          {may("releases:write") && ["DRAFT", "REVIEW", "APPROVED"].includes(read.state) && <Link to={to(["releases", id, "edit"])}>{t("event.edit")}</Link>}
        </>
      }
    >
      {newer !== undefined && (
        <p className="notice" role="status">
          {t("release.newer")}{" "}
          <button type="button" onClick={again}>
            {t("release.load")}
          </button>
        </p>
      )}
      {action.problem && <ProblemBox problem={action.problem} />}
      <Facts
        items={[
          ["state", <Badge group="phase" value={read.state} />],
          ["claim.event", <EventTitle of={read} />],
          ["release.event-revision", <Outdated release={read} now={event.data?.revision} />],
          ["release.author", <>{read.authors.map((author) => <span key={author}><Id id={author} to={to(["users", author])} />{author === user.id && ` (${t("members.me")})`} </span>)}</>],
          ["changed", <Time at={read.updatedAt} />],
          ["release.reason", read.reason],
          ["release.hash", <code className="wrap">{read.hash}</code>],
        ]}
      />
      <Actions release={read} change={change} />
      <Changes release={read} />
      <Evidence release={read} change={change} />
      <Approvals release={read} change={change} isStale={newer !== undefined} />
      <Ramp release={read} turn={turn} />
      <Conversation release={read} turn={turn} change={change} />
    </Page>
  );
}

function Outdated({ release, now }: { release: Release; now: number | undefined }) {
  const t = useT();
  const waits = ["DRAFT", "REVIEW", "APPROVED"].includes(release.state);
  if (!waits || now === undefined || now === release.eventRevision) return <>{release.eventRevision}</>;
  return (
    <>
      {release.eventRevision} <span className="low">{t("release.outdated", { now })}</span>
    </>
  );
}
