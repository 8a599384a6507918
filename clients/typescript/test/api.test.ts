import assert from "node:assert/strict";
import { test } from "node:test";

import { Meed, MeedError, type NewActivity } from "@meed/client";

import { all, fixture, meed, newUser } from "./support.js";

const quest = (externalUserId: string, id: string): NewActivity => ({
  source: "typescript",
  id: `${externalUserId}/${id}`,
  externalUserId,
  kind: "quest.completed",
});

async function refusal(call: Promise<unknown>): Promise<MeedError> {
  const error = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error instanceof MeedError, `no MeedError: ${error}`);
  return error;
}

test("a user is created once, and found", async () => {
  const externalId = await newUser();
  const user = await meed.upsertUser(externalId, { level: 42 });
  assert.deepEqual([user.externalId, user.attributes], [externalId, { level: "42" }]);
  assert.deepEqual(await meed.user(externalId), user);
  const upserts = await meed.upsertUsers([{ externalId }, { externalId: `${externalId}+`, attributes: { vip: true } }]);
  assert.deepEqual([upserts.created, upserts.unchanged], [1, 1]);
  const error = await refusal(meed.user("typescript-nobody"));
  assert.deepEqual([error.status, error.code], [404, "no-such-user"]);
});

test("a claim is rejected, then granted, then already granted", async () => {
  const externalUserId = await newUser();
  const claim = { eventId: fixture.quests, externalUserId };
  const rejected = await meed.claim(claim);
  assert.equal(rejected.status, "REJECTED");
  assert.equal(rejected.reasons[0]?.source, "CONDITION");
  const progress = await meed.progress(fixture.quests, { externalUserId });
  assert.deepEqual([progress.eligible, progress.progress[0]?.current, progress.progress[0]?.target], [false, 0, 2]);

  const recorded = await meed.record([quest(externalUserId, "1"), quest(externalUserId, "2")]);
  assert.deepEqual([recorded.recorded, recorded.duplicates], [2, 0]);
  const again = await meed.record(quest(externalUserId, "1"));
  assert.deepEqual([again.recorded, again.duplicates], [0, 1]);
  assert.equal((await meed.progress(fixture.quests, { externalUserId })).eligible, true);
  const then = await meed.progress(fixture.quests, { externalUserId, knownBy: "2026-01-01T00:00:00Z" });
  assert.deepEqual([then.eligible, then.knownBy], [false, "2026-01-01T00:00:00.000Z"]);

  const granted = await meed.claim(claim);
  assert.equal(granted.status, "GRANTED");
  assert.deepEqual(await meed.rewardRequest(granted.id), granted);
  const error = await refusal(meed.claim(claim));
  assert.deepEqual([error.status, error.code], [409, "already-granted"]);
  assert.equal(error.problem?.["rewardRequestId"], granted.id);
  assert.deepEqual(error.problem?.["grantIds"], [granted.grants[0]?.id]);
  assert.ok(error.requestId);
});

test("a claim under the same key is the same claim", async () => {
  const claim = { eventId: fixture.event, externalUserId: await newUser() };
  const idempotencyKey = `typescript-${Date.now()}`;
  const granted = await meed.claim(claim, { idempotencyKey });
  assert.equal(granted.status, "GRANTED");
  assert.deepEqual(await meed.claim(claim, { idempotencyKey }), granted);
});

test("a pending claim is waited for", async () => {
  const claim = { eventId: fixture.event, externalUserId: await newUser() };
  const pending = await meed.claim(claim, { respondAsync: true });
  assert.equal(pending.status, "RECEIVED");
  assert.equal((await meed.waitForDecision(pending.id)).status, "GRANTED");
});

test("an error points to the invalid fields", async () => {
  const externalUserId = await newUser();
  const error = await refusal(meed.record([quest(externalUserId, "1"), { ...quest(externalUserId, "2"), kind: "no kind" }]));
  assert.deepEqual([error.status, error.code], [422, "invalid-body"]);
  assert.deepEqual(error.errors.map(({ pointer }) => pointer), ["/1/kind"]);
  assert.match(error.errors[0]?.message ?? "", /no kind/);
});

test("a stream records the valid activities and tells the lines of the others", async () => {
  const externalUserId = await newUser();
  async function* activities() {
    for (let line = 1; line <= 1500; line++) {
      yield line % 700 === 0 ? { ...quest(externalUserId, `${line}`), kind: "" } : quest(externalUserId, `${line}`);
    }
  }
  const progress = await all(meed.recordStream(activities()));
  assert.deepEqual(progress.map(({ through }) => through), [1000, 1500]);
  assert.deepEqual(progress.map(({ done }) => done), [false, true]);
  assert.deepEqual([progress[1]?.recorded, progress[1]?.duplicates, progress[1]?.rejected], [1498, 0, 2]);
  assert.deepEqual(progress.flatMap(({ errors }) => errors).map(({ line, pointer }) => [line, pointer]), [
    [700, "/kind"],
    [1400, "/kind"],
  ]);
  const resumed = await all(meed.recordStream([quest(externalUserId, "1500")], { firstLine: 1500 }));
  assert.deepEqual([resumed[0]?.through, resumed[0]?.duplicates], [1500, 1]);
  assert.deepEqual(await all(meed.recordStream([])), []);
});

test("lists are read page by page", async () => {
  const externalUserId = await newUser();
  await meed.claim({ eventId: fixture.event, externalUserId });
  await meed.claim({ eventId: fixture.quests, externalUserId });
  await meed.record([quest(externalUserId, "1"), quest(externalUserId, "2")]);
  await meed.claim({ eventId: fixture.quests, externalUserId });
  // The clock of the server stands still, so the order says nothing.
  const requests = await all(meed.rewardRequests({ externalUserId, pageSize: 1 }));
  assert.deepEqual(requests.map(({ status }) => status).sort(), ["GRANTED", "GRANTED", "REJECTED"]);
  assert.equal(new Set(requests.map(({ id }) => id)).size, 3);
  const granted = await all(meed.rewardRequests({ externalUserId, status: "GRANTED" }));
  const grants = await all(meed.grants({ externalUserId, pageSize: 1 }));
  const sorted = [grants.map(({ requestId }) => requestId), granted.map(({ id }) => id)].map((ids) => ids.sort());
  assert.deepEqual(sorted[0], sorted[1]);
  assert.equal(grants.length, 2);
  const [grant] = grants;
  const acknowledged = await meed.acknowledge(grant?.id ?? "", { state: "DELIVERED", reference: "shipment 4711" });
  assert.deepEqual([acknowledged.fulfilment.state, acknowledged.fulfilment.reference], ["DELIVERED", "shipment 4711"]);
});

test("a key that is wrong is refused, and not shown", async () => {
  const error = await refusal(new Meed({ url: fixture.url, key: () => "meed_sk_wrong" }).progress(fixture.event));
  assert.deepEqual([error.status, error.code], [401, "invalid-token"]);
  assert.ok(!`${error.stack}`.includes("meed_sk_wrong"));
});
