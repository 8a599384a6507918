import assert from "node:assert/strict";
import { test } from "node:test";

import { type SignedReceipt, type VerificationCode, VerificationError, verifyReceipt, verifyReversal } from "@meed/client";

import { fixture, meed, newUser } from "./support.js";

const { receipts, erased, reversal, keys, foreignKeys } = fixture;

async function isRefused(code: VerificationCode, verification: Promise<unknown>): Promise<void> {
  await assert.rejects(verification, (error) => {
    assert.ok(error instanceof VerificationError, `${error}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** The grouped receipt with the longest path, changed. */
function changed(change: (receipt: Complete) => void): SignedReceipt {
  const [longest] = receipts.toSorted((a, b) => b.signature.path.length - a.signature.path.length);
  assert.ok(longest && longest.signature.path.length > 1, "no receipt was signed together with others");
  const copy = structuredClone(longest);
  change(copy as Complete);
  return copy;
}

type Complete = { [Member in keyof SignedReceipt]-?: NonNullable<SignedReceipt[Member]> };

const flipped = (hex: string) => (hex.startsWith("0") ? "1" : "0") + hex.slice(1);

test("the receipt of a claim verifies with the keys of the server", async () => {
  const granted = await meed.claim({ eventId: fixture.event, externalUserId: await newUser() });
  const verified = await verifyReceipt(await meed.receipt(granted.id), await meed.receiptKeys());
  assert.equal(verified.erased, false);
  assert.deepEqual([verified.receipt?.requestId, verified.receipt?.status], [granted.id, "GRANTED"]);
  assert.equal(verified.terms?.eventId, fixture.event);
  assert.ok(keys.keys.some(({ kid }) => kid === verified.keyId));
});

test("receipts that were signed together verify", async () => {
  assert.ok(receipts.length > 2);
  for (const receipt of receipts) {
    assert.equal((await verifyReceipt(receipt, keys.keys)).digest, receipt.digest);
  }
  // Text and the order of keys do not matter.
  const reordered = Object.fromEntries(Object.entries(receipts[0] ?? {}).reverse()) as SignedReceipt;
  await verifyReceipt(JSON.parse(JSON.stringify(reordered, null, 2)) as SignedReceipt, keys);
});

test("a receipt that was changed does not verify", async () => {
  await verifyReceipt(changed(() => undefined), keys);
  const changes: [VerificationCode, (receipt: Complete) => void][] = [
    ["digest", ({ receipt }) => (receipt.status = "REJECTED")],
    ["digest", ({ receipt }) => (receipt.awards[0]!.quantity += 1)],
    ["digest", (signed) => (signed.salt = flipped(signed.salt))],
    ["digest", (signed) => (signed.salt += "00")],
    ["digest", (signed) => (signed.digest = `sha256:${flipped(signed.digest.slice(7))}`)],
    ["terms", ({ terms }) => (terms.title = "Another")],
    ["format", ({ receipt }) => (receipt.format = "meed-receipt/3")],
    ["format", (signed) => delete (signed as Partial<Complete>).terms],
    ["format", (signed) => delete (signed as Partial<Complete>).salt],
    ["path", ({ signature }) => signature.path.pop()],
    ["path", ({ signature }) => signature.path.push("00".repeat(32))],
    ["path", ({ signature }) => (signature.path[0] = "00")],
    ["path", ({ signature }) => (signature.leafIndex = signature.treeSize)],
    ["path", ({ signature }) => (signature.leafIndex = -1)],
    ["path", ({ signature }) => (signature.treeSize = Number.NaN)],
    ["signature", ({ signature }) => (signature.path[0] = flipped(signature.path[0]!))],
    ["signature", ({ signature }) => (signature.leafIndex ^= 1)],
    ["signature", ({ signature }) => (signature.value = `${signature.value.startsWith("A") ? "B" : "A"}${signature.value.slice(1)}`)],
    ["signature", ({ signature }) => (signature.value = "")],
    ["signature", ({ signature }) => (signature.algorithm = "none")],
    ["untrusted-key", ({ signature }) => (signature.keyId = foreignKeys.keys[0]!.kid)],
  ];
  for (const [code, change] of changes) {
    await isRefused(code, verifyReceipt(changed(change), keys));
  }
});

test("a receipt by a foreign key does not verify, even if it brings the key", async () => {
  const receipt = changed(() => undefined);
  await isRefused("untrusted-key", verifyReceipt(receipt, foreignKeys));
  await isRefused("untrusted-key", verifyReceipt(receipt, []));
  const renamed = foreignKeys.keys.map((key) => ({ ...key, kid: receipt.signature.keyId }));
  await isRefused("signature", verifyReceipt(receipt, renamed));
  const brought = changed(({ signature }) => {
    signature.keyId = foreignKeys.keys[0]!.kid;
    signature.publicKey = foreignKeys.keys[0]!.x;
  });
  await isRefused("untrusted-key", verifyReceipt(brought, keys));
});

test("an erased receipt verifies, and its digest cannot be changed", async () => {
  const verified = await verifyReceipt(erased, keys);
  assert.deepEqual([verified.erased, verified.receipt, verified.digest], [true, null, erased.digest]);
  const other = receipts.find(({ digest }) => digest !== erased.digest)!;
  await isRefused("signature", verifyReceipt({ ...erased, digest: other.digest }, keys));
  await isRefused("path", verifyReceipt({ ...erased, digest: "sha256:00" }, keys));
});

test("the receipt of a reversal verifies", async () => {
  const verified = await verifyReversal(reversal, keys);
  assert.ok(receipts.some(({ digest }) => digest === verified.receipt?.requestDigest));
  await isRefused("digest", verifyReversal({ ...reversal, receipt: { ...reversal.receipt!, reason: "Other" } }, keys));
  await isRefused("untrusted-key", verifyReversal(reversal, foreignKeys));
  const { digest, signature } = reversal;
  assert.equal((await verifyReversal({ digest, signature, receipt: null, salt: null }, keys)).erased, true);
});

test("what is no receipt is told as such", async () => {
  for (const other of [null, [], {}, "text", { digest: "sha256:00" }]) {
    await isRefused("format", verifyReceipt(other as unknown as SignedReceipt, keys));
  }
});

test("canonical JSON is that of RFC 8785", async () => {
  const { canonical } = (await import(new URL("canonical.js", import.meta.resolve("@meed/client")).href)) as {
    canonical: (value: unknown) => string;
  };
  const value = JSON.parse(
    String.raw`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001, -0, 9007199254740993],
    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false],
    "\ufffd": 1, "\ud800\udc00": 2, "": 3, "10": 4, "9": 5}`,
  ) as unknown;
  const text = String.raw`{"":3,"10":4,"9":5,"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,9007199254740992],"string":"€$\u000f\nA'B\"\\\\\"/","𐀀":2,"�":1}`;
  assert.equal(canonical(value), text);
});
