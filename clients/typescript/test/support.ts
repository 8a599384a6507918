/** What the tests know about the running server: the file that `MEED_CLIENT_FIXTURE` names. */

import { readFileSync } from "node:fs";

import { type JwkSet, Meed, type SignedReceipt, type SignedReversal } from "@meed/client";

export interface Webhook {
  headers: Record<string, string>;
  body: string;
}

interface Fixture {
  url: string;
  /** A service key. */
  key: string;
  /** An event that grants every user one reward. */
  event: string;
  /** An event that grants a user who completed two quests. */
  quests: string;
  /** Receipts that were signed together. */
  receipts: SignedReceipt[];
  erased: SignedReceipt;
  reversal: SignedReversal;
  keys: JwkSet;
  /** The keys of another server. */
  foreignKeys: JwkSet;
  webhook: Webhook;
  /** During a rotation of the secret. */
  rotated: Webhook;
  secret: string;
  previousSecret: string;
}

const file = process.env["MEED_CLIENT_FIXTURE"];
if (file === undefined) throw new Error("MEED_CLIENT_FIXTURE is not set: run `cargo xtask test clients::`");

export const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;
export const meed = new Meed({ url: fixture.url, key: fixture.key });

let users = 0;

/** A new user by external id. */
export async function newUser(): Promise<string> {
  const externalId = `typescript/${process.pid}-${Date.now()}-${users++} é`;
  await meed.upsertUser(externalId);
  return externalId;
}

/** All items of an iterator. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
