/** Retries through a proxy that loses responses and is overloaded, before the running server. */

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { Meed, MeedError } from "@meed/client";

import { all, fixture, meed, newUser } from "./support.js";

type Fault = "forward" | "lose the response" | { status: number; headers?: Record<string, string>; body?: string };

interface Proxy {
  meed: Meed;
  /** The `Idempotency-Key` of each attempt. */
  keys: (string | undefined)[];
}

/** Runs `use` with a proxy that answers the first requests with these faults, and forwards the others. */
async function behind(faults: Fault[], use: (proxy: Proxy) => Promise<void>): Promise<void> {
  const keys: Proxy["keys"] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const fault = faults[keys.length] ?? "forward";
    keys.push(request.headers["idempotency-key"] as string | undefined);
    if (typeof fault === "object") {
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    const body = (await all(request)).map(String).join("");
    const { host: _, connection: __, "transfer-encoding": ___, "content-length": ____, ...headers } = request.headers;
    const { method = "" } = request;
    const forwarded = await fetch(`${fixture.url}${request.url}`, {
      method,
      headers: headers as Record<string, string>,
      ...(method === "GET" ? {} : { body }),
    });
    const text = await forwarded.text();
    if (fault === "lose the response") request.socket.destroy();
    else response.writeHead(forwarded.status, { "content-type": forwarded.headers.get("content-type") ?? "" }).end(text);
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await use({ keys, meed: new Meed({ url: `http://127.0.0.1:${port}/`, key: fixture.key, maxPauseMs: 2_000 }) });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const overloaded = (code: string, retryAfter: string): Fault => ({
  status: 503,
  headers: { "content-type": "application/problem+json", "retry-after": retryAfter },
  body: JSON.stringify({ type: `urn:meed:problem:${code}`, title: "", status: 503, code, detail: "later" }),
});

test("a claim whose response was lost is repeated with its key, and granted once", async () => {
  const claim = { eventId: fixture.event, externalUserId: await newUser() };
  await behind(["lose the response", overloaded("unavailable", "1"), { status: 504 }], async ({ meed, keys }) => {
    const begin = Date.now();
    const granted = await meed.claim(claim);
    assert.equal(granted.status, "GRANTED");
    assert.equal(keys.length, 4);
    assert.ok(keys[0] && keys.every((key) => key === keys[0]), `${keys}`);
    assert.ok(Date.now() - begin >= 1000, "Retry-After was not honoured");
    const requests = await all(meed.rewardRequests({ externalUserId: claim.externalUserId }));
    assert.deepEqual(requests.map(({ id }) => id), [granted.id]);
  });
});

test("two claims have two keys", async () => {
  const externalUserId = await newUser();
  await behind([], async ({ meed, keys }) => {
    await meed.claim({ eventId: fixture.event, externalUserId });
    await meed.claim({ eventId: fixture.quests, externalUserId });
    assert.equal(new Set(keys).size, 2);
  });
});

async function failure(call: Promise<unknown>): Promise<MeedError> {
  const error = await call.then(() => undefined, (error: unknown) => error);
  assert.ok(error instanceof MeedError, `no MeedError: ${error}`);
  return error;
}

test("a call fails when the server asks for a longer pause, and when a refusal is final", async () => {
  const claim = { eventId: fixture.event, externalUserId: await newUser() };
  await behind([overloaded("unavailable", "60")], async ({ meed, keys }) => {
    const error = await failure(meed.claim(claim));
    assert.deepEqual([error.code, error.status, error.retryAfter, keys.length], ["unavailable", 503, 60, 1]);
  });
  await behind([{ status: 500, body: "<html>" }], async ({ meed, keys }) => {
    const error = await failure(meed.claim(claim));
    assert.deepEqual([error.code, error.status, keys.length], ["unexpected-response", 500, 1]);
  });
});

test("what is not safe to repeat is repeated only if nothing was done", async () => {
  const reversal = (meed: Meed) => meed.request("POST", `/reward-requests/${fixture.event}/reversal`, { body: { reason: "x" } });
  await behind([overloaded("overloaded", "0"), overloaded("unavailable", "0")], async ({ meed, keys }) => {
    const error = await failure(reversal(meed));
    assert.deepEqual([error.code, keys.length], ["unavailable", 2]);
  });
});

test("a server that does not answer is told as unreachable, after all attempts", async () => {
  const unreachable = new Meed({ url: "http://127.0.0.1:1", key: fixture.key, retries: 2 });
  const error = await failure(unreachable.receiptKeys());
  assert.deepEqual([error.code, error.status], ["unreachable", 0]);
  const ended = new AbortController();
  const call = unreachable.receiptKeys({ signal: ended.signal });
  ended.abort(new Error("enough"));
  await assert.rejects(call, /enough/);
});

test("a stream repeats an interrupted part, and says where to resume", async () => {
  const activity = { source: "typescript", externalUserId: await newUser(), kind: "quest.completed" };
  const activities = Array.from({ length: 1001 }, (_, number) => ({ ...activity, id: `${activity.externalUserId}#${number}` }));
  const cutOff = { status: 200, headers: { "content-type": "application/x-ndjson" }, body: '{"through": 10' };
  const refused = { ...cutOff, body: '{"through": 1000, "code": "body-too-large", "detail": "Line 1001 has more bytes."}\n' };
  await behind([cutOff, "lose the response", "forward", refused], async ({ meed, keys }) => {
    const stream = meed.recordStream(activities);
    const { value: first } = await stream.next();
    assert.deepEqual([first?.through, first?.duplicates, keys.length], [1000, 1000, 3]);
    const error = await failure(stream.next());
    assert.deepEqual([error.code, error.through], ["body-too-large", 1000]);
    const rest = await all(meed.recordStream(activities.slice(error.through), { firstLine: 1001 }));
    assert.deepEqual([rest[0]?.through, rest[0]?.recorded], [1001, 1]);
  });
});
