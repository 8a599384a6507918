// The main job through a client that is generated from the served document: an operator makes an offer, a user claims it,
// an auditor reads how it was decided. The compiler checks the document, the run checks the server.

import { readFileSync } from "node:fs";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type RewardRequest = components["schemas"]["RewardRequest"];

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** The data of a successful answer. */
function ok<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  const { data, error, response } = answer;
  if (data === undefined) throw new Error(`${response.status} ${response.url}: ${JSON.stringify(error)}`);
  return data;
}

const baseUrl = setting("MEED_URL");
const as = (token: string) => createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });
const operator = as(setting("OPERATOR_TOKEN"));
const auditor = as(setting("AUDITOR_TOKEN"));
const anyone = createClient<paths>({ baseUrl });

const plugin = ok(
  await operator.POST("/plugins", {
    headers: { "content-type": "application/wasm" },
    body: "",
    bodySerializer: () => readFileSync(setting("PLUGIN")),
  }),
);
check(plugin.state === "ACTIVE", `the plugin is ${plugin.state}`);

const reward = ok(await operator.POST("/rewards", { body: { type: "POINT", value: 100 } }));
const event = ok(
  await operator.POST("/events", {
    body: {
      title: "First login",
      startDate: "2026-01-01T00:00:00Z",
      endDate: "2027-01-01T00:00:00Z",
      rewardIds: [reward.id],
      condition: { plugin: plugin.name, version: plugin.version, params: { days: 1 } },
    },
  }),
);

const credentials = { email: "client@example.com", password: "correct horse battery" };
await anyone.POST("/auth/register", { body: credentials });
const tokens = ok(await anyone.POST("/auth/login", { body: credentials }));
const user = as(tokens.accessToken);
const me = ok(await user.GET("/users/me"));

const claim = () => user.POST("/reward-requests", { body: { eventId: event.id } });
const granted: RewardRequest = ok(await claim());
check(granted.status === "GRANTED", `the claim is ${granted.status}: ${JSON.stringify(granted.reasons)}`);
check(granted.userId === me.id, "the request belongs to another user");
check(granted.grants[0]?.rewardId === reward.id, "the grant is of another reward");

const repeat = await claim();
check(repeat.error?.code === "already-granted", `a repeat is ${repeat.response.status}`);

const mine = ok(await user.GET("/reward-requests/mine", { params: { query: { status: "GRANTED", pageSize: 1 } } }));
check(mine.items[0]?.id === granted.id, "the history lacks the grant");

const path = { id: granted.id };
const receipt = ok(await auditor.GET("/reward-requests/{id}/receipt", { params: { path } }));
check(receipt.receipt?.requestId === granted.id, "the receipt is of another request");

const entries = ok(await auditor.GET("/audit", { params: { query: { action: "POST /events", target: event.id } } }));
check(typeof entries !== "string" && entries.items.length === 1, "the audit log has no entry about the event");

const unknown = await operator.GET("/events/{id}", { params: { path: { id: granted.id } } });
check(unknown.error !== undefined && unknown.response.status === 404, "an unknown event is found");

console.log(`${granted.id} was granted`);
