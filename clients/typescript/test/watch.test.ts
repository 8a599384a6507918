import assert from "node:assert/strict";
import { test } from "node:test";

import { Meed, MeedError } from "@meed/client";

import { fixture, meed, newUser } from "./support.js";

test("a grant is watched, and what came meanwhile is told once", async () => {
  const externalUserId = await newUser();
  const stop = new AbortController();
  const requests = meed.watchRewardRequests({ externalUserId }, { signal: stop.signal });
  const first = requests.next();
  // The stream begins with its connection.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const granted = await meed.claim({ eventId: fixture.event, externalUserId });
  const { value: event } = await first;
  assert.ok(event.type === "reward-request");
  assert.deepEqual(event.data, granted);
  stop.abort();
  await assert.rejects(requests.next());

  for (const id of ["1", "2"]) {
    await meed.record({ source: "typescript", id: `watch/${externalUserId}/${id}`, externalUserId, kind: "quest.completed" });
  }
  const quest = await meed.claim({ eventId: fixture.quests, externalUserId });
  const more = meed.watchRewardRequests({ externalUserId }, { lastEventId: event.id });
  assert.deepEqual((await more.next()).value.data, quest);
  await more.return(undefined as never);
});

test("progress is told as it changes", async () => {
  const externalUserId = await newUser();
  const seen: unknown[] = [];
  for await (const { data, id } of meed.watchProgress(fixture.quests, { externalUserId })) {
    const current = data.progress[0]?.current;
    seen.push(current);
    assert.ok(id);
    if (current === 2) break;
    const activity = `progress/${externalUserId}/${seen.length}`;
    await meed.record({ source: "typescript", id: activity, externalUserId, kind: "quest.completed" });
  }
  assert.deepEqual(seen, [0, 1, 2]);
});

test("a stream that is refused throws", async () => {
  const nobody = new Meed({ url: fixture.url, key: "nonsense" });
  const error: unknown = await nobody.watchProgress(fixture.quests).next().catch((error: unknown) => error);
  assert.ok(error instanceof MeedError);
  assert.equal(error.code, "invalid-token");
});
