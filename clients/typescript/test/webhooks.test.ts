import assert from "node:assert/strict";
import { test } from "node:test";

import { type VerificationCode, VerificationError, verifyWebhook } from "@meed/client";

import { fixture, type Webhook } from "./support.js";

const { webhook, rotated, secret, previousSecret } = fixture;
const at = ({ headers }: Webhook, seconds = 0) => ({
  now: new Date((Number(headers["webhook-timestamp"]) + seconds) * 1000),
});

async function isRefused(code: VerificationCode, verification: Promise<unknown>): Promise<void> {
  await assert.rejects(verification, (error) => {
    assert.ok(error instanceof VerificationError, `${error}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

test("a webhook verifies, and its message has a type", async () => {
  const { headers, body } = webhook;
  const event = await verifyWebhook(headers, body, previousSecret, at(webhook));
  assert.equal(event.id, headers["webhook-id"]);
  assert.equal(event.type, "reward.granted");
  if (event.type === "reward.granted") assert.equal(event.data.grants[0]?.quantity, 1);
  const bytes = new TextEncoder().encode(body);
  assert.deepEqual(await verifyWebhook(new Headers(headers), bytes, previousSecret, at(webhook)), event);
  const upperCase = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), [value]]));
  assert.deepEqual(await verifyWebhook(upperCase, body, previousSecret, at(webhook)), event);
});

test("a webhook that was changed does not verify", async () => {
  const { headers, body } = webhook;
  const verify = (changed: Record<string, string | undefined>, text = body) =>
    verifyWebhook({ ...headers, ...changed }, text, previousSecret, at(webhook));
  await isRefused("signature", verify({}, body.replace("reward.granted", "reward.reversed")));
  await isRefused("signature", verify({}, `${body} `));
  await isRefused("signature", verify({ "webhook-id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77" }));
  await isRefused("signature", verify({ "webhook-timestamp": `${Number(headers["webhook-timestamp"]) + 1}` }));
  await isRefused("signature", verify({ "webhook-signature": "v1,AAAA" }));
  await isRefused("signature", verify({ "webhook-signature": headers["webhook-signature"]!.replace("v1,", "v2,") }));
  await isRefused("signature", verify({ "webhook-signature": "" }));
  await isRefused("format", verify({ "webhook-signature": undefined }));
  await isRefused("timestamp", verify({ "webhook-timestamp": "1e9" }));
  await isRefused("signature", verifyWebhook(headers, body, secret, at(webhook)));
});

test("an old webhook is refused", async () => {
  const { headers, body } = webhook;
  await isRefused("timestamp", verifyWebhook(headers, body, previousSecret));
  await isRefused("timestamp", verifyWebhook(headers, body, previousSecret, at(webhook, 301)));
  await isRefused("timestamp", verifyWebhook(headers, body, previousSecret, at(webhook, -301)));
  await verifyWebhook(headers, body, previousSecret, at(webhook, 299));
  await verifyWebhook(headers, body, previousSecret, { ...at(webhook, 900), toleranceSeconds: 1000 });
});

test("while the secret is rotated, both secrets verify", async () => {
  const { headers, body } = rotated;
  assert.equal(headers["webhook-signature"]?.split(" ").length, 2);
  for (const known of [secret, previousSecret, [previousSecret, secret]]) {
    await verifyWebhook(headers, body, known, at(rotated));
  }
  // A receiver that knows both, before and after the rotation.
  await verifyWebhook(webhook.headers, webhook.body, [secret, previousSecret], at(webhook));
  await assert.rejects(verifyWebhook(headers, body, "whsec_", at(rotated)), TypeError);
});
