// The RPC face from a Connect client: node connect.js URL < what the test knows, as JSON. Over HTTP/1.1 with JSON, and over
// HTTP/2 with binary messages and a stream in both directions.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { create } from "@bufbuild/protobuf";
import { ActivitySchema, ActivityService, IngestRequestSchema } from "./meed/v1/activity_service_pb.js";
import { ClaimResponse_Answer, ClaimService, type WatchRewardRequestsResponse } from "./meed/v1/claim_service_pb.js";
import { ProgressService } from "./meed/v1/progress_service_pb.js";
import { ReceiptService } from "./meed/v1/receipt_service_pb.js";
import { RewardRequest_Status } from "./meed/v1/reward_request_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./google/rpc/error_details_pb.js";

const baseUrl = process.argv[2]!;
const known = JSON.parse(readFileSync(0, "utf8")) as Record<string, string>;

const as = (token: string): Interceptor => (next) => (request) => {
  request.header.set("authorization", `Bearer ${known[token]}`);
  return next(request);
};

async function refused(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("the call was answered");
}

const purchase = (number: number, kind = "shop.purchase") =>
  create(ActivitySchema, {
    source: "shop",
    id: `connect-${number}`,
    user: { case: "externalUserId", value: "ada" },
    kind,
    amount: 9_007_199_254n,
  });

const transports = {
  "Connect, HTTP/1.1, JSON": (token: string) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [as(token)] }),
  "Connect, HTTP/1.1, binary, GET": (token: string) =>
    createConnectTransport({
      baseUrl,
      httpVersion: "1.1",
      useBinaryFormat: true,
      useHttpGet: true,
      interceptors: [as(token)],
    }),
  "Connect, HTTP/2": (token: string) => createConnectTransport({ baseUrl, httpVersion: "2", interceptors: [as(token)] }),
  "gRPC-Web, HTTP/1.1": (token: string) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1", interceptors: [as(token)] }),
  gRPC: (token: string) => createGrpcTransport({ baseUrl, interceptors: [as(token)] }),
};

let granted: string | undefined;
for (const [name, transport] of Object.entries(transports)) {
  const user = createClient(ClaimService, transport("user"));
  const claimed = await user.claim({ eventId: known.event, idempotencyKey: "typescript" });
  assert.equal(claimed.rewardRequest?.status, RewardRequest_Status.GRANTED, name);
  assert.equal(claimed.answer, granted ? ClaimResponse_Answer.REPLAYED : ClaimResponse_Answer.DECIDED, name);
  granted ??= claimed.rewardRequest!.id;
  assert.equal((await user.getRewardRequest({ id: granted })).rewardRequest?.id, granted, name);

  const again = await refused(user.claim({ eventId: known.event }));
  assert.equal(again.code, Code.AlreadyExists, name);
  const [info] = again.findDetails(ErrorInfoSchema);
  assert.deepEqual([info?.reason, info?.domain, info?.metadata.rewardRequestId], ["already-granted", "meed", granted], name);
  const nonsense = await refused(user.claim({ eventId: "nonsense" }));
  assert.equal(nonsense.code, Code.InvalidArgument, name);
  assert.equal(nonsense.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field, "event_id", name);
  const forged = createClient(ClaimService, transport("nobody"));
  assert.equal((await refused(forged.getRewardRequest({ id: granted }))).code, Code.Unauthenticated, name);

  const progress = await createClient(ProgressService, transport("user")).getProgress({ eventId: known.event });
  assert.deepEqual([progress.progress?.eligible, progress.progress?.granted], [false, 1], name);
  const receipts = createClient(ReceiptService, transport("user"));
  const { json } = await receipts.getReceipt({ rewardRequestId: granted });
  assert.ok(JSON.parse(json).signature, name);

  const shop = createClient(ActivityService, transport("key"));
  const recorded = await shop.recordActivities({ activities: [purchase(1)] });
  assert.equal(recorded.recorded + recorded.duplicates, 1, name);
}

for (const name of ["Connect, HTTP/2", "gRPC"] as const) {
  const shop = createClient(ActivityService, transports[name]("key"));
  const told: bigint[] = [];
  // The next part waits for the response to the one before, so the stream goes in both directions.
  let respond = () => {};
  async function* parts() {
    for (let part = 0; part < 3; part++) {
      const responded = new Promise<void>((resolve) => (respond = resolve));
      yield create(IngestRequestSchema, { activities: [purchase(part + 10), purchase(part + 20, "no kind")] });
      await responded;
    }
  }
  for await (const response of shop.ingest(parts())) {
    told.push(response.through);
    assert.equal(response.errors[0]?.field, "kind", name);
    respond();
  }
  assert.deepEqual(told, [2n, 4n, 6n], name);
}

// Watches. A decided claim is told once, and then the stream ends.
for (const [name, transport] of Object.entries(transports)) {
  const told: (RewardRequest_Status | undefined)[] = [];
  const user = createClient(ClaimService, transport("user"));
  for await (const { rewardRequest } of user.watchRewardRequest({ id: granted! })) {
    told.push(rewardRequest?.status);
  }
  assert.deepEqual(told, [RewardRequest_Status.GRANTED], name);
}

/** The next message that says something: others keep the connection open. */
async function change(stream: AsyncIterator<WatchRewardRequestsResponse>): Promise<WatchRewardRequestsResponse> {
  for (;;) {
    const { value, done } = await stream.next();
    assert.ok(!done, "the stream ended");
    if (value.change.case) {
      return value;
    }
  }
}

// All reward requests of a user, over each protocol at the same time.
const follow = (transport: (token: string) => Transport, cursor?: string) =>
  createClient(ClaimService, transport("leaver")).watchRewardRequests({ cursor })[Symbol.asyncIterator]();
const followers = [];
for (const [name, transport] of Object.entries(transports)) {
  const stream = follow(transport);
  const { value } = await stream.next();
  assert.ok(value.cursor && !value.change.case, name);
  followers.push({ name, transport, stream, cursor: value.cursor as string });
}
const leaver = createClient(ClaimService, transports["Connect, HTTP/1.1, JSON"]("leaver"));
const { rewardRequest: followed } = await leaver.claim({ eventId: known.other });
for (const { name, stream } of followers) {
  assert.deepEqual((await change(stream)).change, { case: "rewardRequest", value: followed }, name);
}
// A client that continues after its first message gets the same, once.
const { transport, cursor } = followers[0]!;
const resumed = follow(transport, cursor);
const again = await change(resumed);
assert.deepEqual(again.change, { case: "rewardRequest", value: followed });

// Progress, as an activity changes it.
const progress = createClient(ProgressService, transports["Connect, HTTP/1.1, JSON"]("key"));
const counts: bigint[] = [];
for await (const told of progress.watchProgress({
  eventId: known.counted,
  user: { case: "externalUserId", value: "newcomer" },
})) {
  if (told.progress) {
    counts.push(told.progress.progress[0]!.current);
  }
  if (counts.length === 2) {
    break;
  }
  if (told.progress) {
    const bought = { ...purchase(99), user: { case: "externalUserId", value: "newcomer" } as const };
    await createClient(ActivityService, transports.gRPC("key")).recordActivities({ activities: [bought] });
  }
}
assert.deepEqual(counts, [0n, 1n]);

// The end of the session ends its streams.
const headers = { authorization: `Bearer ${known.leaver}` };
assert.equal((await fetch(`${baseUrl}/auth/logout`, { method: "POST", headers })).status, 204);
for (const { name, stream } of [...followers, { name: "resumed", stream: resumed }]) {
  const ended = await refused(change(stream));
  assert.equal(ended.code, Code.Unauthenticated, name);
  assert.equal(ended.findDetails(ErrorInfoSchema)[0]?.reason, "stream-unauthorized", name);
}
console.log("done");
