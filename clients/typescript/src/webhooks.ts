/** Verification of webhooks, as specified by Standard Webhooks. */

import { concat, fromBase64, utf8 } from "./canonical.js";
import { VerificationError } from "./errors.js";
import type { WebhookEvent } from "./events.js";

/** The headers of a request: of `fetch`, of Node, or an object; the case of the names does not matter. */
export type WebhookHeaders = Headers | Record<string, string | readonly string[] | undefined>;

export interface WebhookOptions {
  /** How far `webhook-timestamp` may be from the present, in seconds; 300 by default. */
  toleranceSeconds?: number;
  /** The present; the system clock by default. */
  now?: Date;
}

/**
 * Verifies a webhook and returns its message. While a secret is rotated, Meed signs with the new and the previous one, so
 * either verifies; `secret` may be several, too.
 *
 * @param body the raw bytes of the body, before any JSON parser
 * @throws {VerificationError} if the webhook is not from Meed, or too old
 */
export async function verifyWebhook(
  headers: WebhookHeaders,
  body: string | Uint8Array,
  secret: string | readonly string[],
  options: WebhookOptions = {},
): Promise<WebhookEvent> {
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => {
    const value = header(headers, name);
    if (value === undefined) throw new VerificationError("format", `The header ${name} is missing.`);
    return value;
  }) as [string, string, string];
  if (!/^[0-9]{1,15}$/.test(timestamp)) {
    throw new VerificationError("timestamp", "webhook-timestamp is not a number of seconds.");
  }
  const bytes = typeof body === "string" ? utf8(body) : body;
  const signed = concat(utf8(`${id}.${timestamp}.`), bytes);
  const keys = await Promise.all((typeof secret === "string" ? [secret] : secret).map(importSecret));
  if (!(await isSigned(signatures, signed, keys))) {
    throw new VerificationError("signature", "No signature of the webhook is by this secret.");
  }
  // After the signature, so that the error of a forged webhook does not depend on its time.
  const { toleranceSeconds = 300, now = new Date() } = options;
  const age = now.getTime() / 1000 - Number(timestamp);
  if (Math.abs(age) > toleranceSeconds) {
    const when = age > 0 ? `${Math.round(age)} seconds old` : `${Math.round(-age)} seconds in the future`;
    throw new VerificationError("timestamp", `The webhook is ${when}: possibly a replay attack.`);
  }
  return parse(bytes, id);
}

function header(headers: WebhookHeaders, name: string): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined;
  const entry = Object.entries(headers).find(([key]) => key.toLowerCase() === name);
  return typeof entry?.[1] === "string" ? entry[1] : entry?.[1]?.[0];
}

async function importSecret(secret: string): Promise<CryptoKey> {
  const bytes = fromBase64(secret.replace(/^whsec_/, ""));
  if (!bytes?.length) throw new TypeError("The secret of a webhook endpoint is `whsec_` and Base64.");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

/** `crypto.subtle.verify` compares in constant time. */
async function isSigned(signatures: string, signed: BufferSource, keys: CryptoKey[]): Promise<boolean> {
  for (const signature of signatures.split(" ").slice(0, 10)) {
    const value = signature.startsWith("v1,") ? fromBase64(signature.slice("v1,".length)) : undefined;
    for (const key of keys) {
      if (value && (await crypto.subtle.verify("HMAC", key, value, signed))) return true;
    }
  }
  return false;
}

function parse(body: Uint8Array, id: string): WebhookEvent {
  let event: Partial<WebhookEvent> | null = null;
  try {
    event = JSON.parse(new TextDecoder().decode(body)) as Partial<WebhookEvent> | null;
  } catch {
    // Not JSON
  }
  if (event?.specversion !== "1.0" || event.id !== id || typeof event.type !== "string") {
    throw new VerificationError("format", "The body of the webhook is not the CloudEvent of its webhook-id.");
  }
  return event as WebhookEvent;
}
