/** Offline verification of receipts: salted digest, terms, Merkle path, and signature by a trusted key. */

import { type Bytes, canonical, concat, fromBase64, fromBase64Url, fromHex, sha256, toHex, utf8 } from "./canonical.js";
import { VerificationError } from "./errors.js";
import type {
  Jwk,
  JwkSet,
  Receipt,
  ReversalReceipt,
  SignatureRecord,
  SignedReceipt,
  SignedReversal,
  Terms,
} from "./types.js";

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
const MAX_TREE_SIZE = 2 ** 32 - 1;

/** A receipt that is authentic. If its content was erased, only its digest is proven. */
export type VerifiedReceipt = { keyId: string; digest: string } & (
  | { erased: false; receipt: Receipt; terms: Terms }
  | { erased: true; receipt: null; terms: null }
);

/** A reversal that is authentic. `receipt.requestDigest` is the digest of the receipt of the reversed request. */
export type VerifiedReversal = { keyId: string; digest: string } & (
  | { erased: false; receipt: ReversalReceipt }
  | { erased: true; receipt: null }
);

/**
 * Verifies a receipt without a server. `keys` are those of `/.well-known/receipt-keys.json`, from a source that you trust:
 * a receipt cannot prove its own key. This proves what the server decided; `meed replay` re-runs the decision.
 *
 * @throws {VerificationError} if the receipt is not authentic
 */
export async function verifyReceipt(signed: SignedReceipt, keys: JwkSet | readonly Jwk[]): Promise<VerifiedReceipt> {
  const { receipt, terms } = requireObject(signed);
  const salt = signed.salt ?? null;
  if (!receipt && !terms && salt === null) {
    return { erased: true, receipt: null, terms: null, ...(await checkSignature(signed, keys)) };
  }
  if (!receipt || !terms || salt === null) {
    throw new VerificationError("format", "Receipt, terms and salt are either all there or all erased.");
  }
  requireFormat(receipt.format, "meed-receipt/2");
  requireFormat(terms.format, "meed-terms/1");
  await checkDigest(receipt, salt, signed.digest);
  const digest = `sha256:${toHex(await sha256(utf8(canonical(terms))))}`;
  if (digest !== receipt.terms) {
    throw new VerificationError("terms", `The terms were changed: their digest is ${digest}, not ${receipt.terms}.`);
  }
  return { erased: false, receipt, terms, ...(await checkSignature(signed, keys)) };
}

/**
 * The same for the receipt of a reversal.
 *
 * @throws {VerificationError} if it is not authentic
 */
export async function verifyReversal(signed: SignedReversal, keys: JwkSet | readonly Jwk[]): Promise<VerifiedReversal> {
  const { receipt } = requireObject(signed);
  const salt = signed.salt ?? null;
  if (!receipt && salt === null) {
    return { erased: true, receipt: null, ...(await checkSignature(signed, keys)) };
  }
  if (!receipt || salt === null) {
    throw new VerificationError("format", "Receipt and salt are either both there or both erased.");
  }
  requireFormat(receipt.format, "meed-reversal/2");
  await checkDigest(receipt, salt, signed.digest);
  return { erased: false, receipt, ...(await checkSignature(signed, keys)) };
}

function requireObject<T>(signed: T): T {
  if (typeof signed === "object" && signed !== null && "digest" in signed && "signature" in signed) return signed;
  throw new VerificationError("format", "This is not a signed receipt.");
}

function requireFormat(found: unknown, known: string): void {
  if (found !== known) {
    throw new VerificationError("format", `The format is ${JSON.stringify(found)}; this version verifies ${known}.`);
  }
}

async function checkDigest(document: object, salt: string, found: string): Promise<void> {
  const bytes = fromHex(salt, 16);
  if (!bytes) throw new VerificationError("digest", "The salt is not 16 bytes in hexadecimal.");
  const digest = `sha256:${toHex(await sha256(bytes, utf8(canonical(document))))}`;
  if (digest !== found) {
    throw new VerificationError("digest", `The receipt was changed: its digest is ${digest}, not ${found}.`);
  }
}

async function checkSignature(
  signed: { digest: string; signature: SignatureRecord },
  keys: JwkSet | readonly Jwk[],
): Promise<{ keyId: string; digest: string }> {
  const { digest, signature } = signed;
  const root = await rootOf(digest, signature);
  if (!root) throw new VerificationError("path", "The path does not lead from the digest to a root of this tree.");
  const keyId = signature.keyId;
  const trusted = listOf(keys).find((key) => key.kid === keyId);
  const publicKey = trusted?.kty === "OKP" && trusted.crv === "Ed25519" ? fromBase64Url(trusted.x) : undefined;
  if (publicKey?.length !== 32) {
    throw new VerificationError("untrusted-key", `The key ${keyId} is not among the trusted keys.`);
  }
  const value = fromBase64(signature.value);
  const statement = utf8(`meed-receipts/2\n${signature.treeSize}\n${toHex(root)}`);
  const isSigned =
    signature.algorithm === "Ed25519" &&
    value?.length === 64 &&
    (await crypto.subtle.verify("Ed25519", await importKey(publicKey), value, statement));
  if (!isSigned) throw new VerificationError("signature", `The key ${keyId} did not sign this receipt.`);
  return { keyId, digest };
}

function listOf(keys: JwkSet | readonly Jwk[]): readonly Jwk[] {
  return Array.isArray(keys) ? (keys as readonly Jwk[]) : (keys as JwkSet).keys;
}

function importKey(bytes: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", bytes, "Ed25519", false, ["verify"]);
}

/** The root to which the path leads (RFC 9162, section 2.1.3.2). `undefined`: the path does not fit the tree. */
async function rootOf(digest: string, signature: SignatureRecord): Promise<Bytes | undefined> {
  const { treeSize, leafIndex, path } = signature;
  const leaf = /^sha256:[0-9a-f]{64}$/.test(digest) ? fromHex(digest.slice("sha256:".length), 32) : undefined;
  let [index, last] = [leafIndex, treeSize - 1];
  const fits = Number.isInteger(index) && Number.isInteger(last) && 0 <= index && index <= last && last < MAX_TREE_SIZE;
  if (!leaf || !fits || !Array.isArray(path)) return undefined;
  let hash = await sha256(LEAF, leaf);
  for (const text of path) {
    const sibling = fromHex(text, 32);
    if (!sibling || last === 0) return undefined;
    if (index % 2 === 1 || index === last) {
      hash = await sha256(NODE, sibling, hash);
      while (index % 2 === 0 && index !== 0) [index, last] = [half(index), half(last)];
    } else {
      hash = await sha256(NODE, hash, sibling);
    }
    [index, last] = [half(index), half(last)];
  }
  return last === 0 ? hash : undefined;
}

function half(number: number): number {
  return Math.floor(number / 2);
}
