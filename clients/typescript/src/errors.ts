/** The two exceptions of this package: a call that failed, and a proof that does not hold. */

import type { FieldError, Problem } from "./types.js";

interface Failure {
  status: number;
  code: string;
  detail: string;
  errors?: FieldError[] | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  problem?: Problem | undefined;
  cause?: unknown;
}

/**
 * A call that failed. Branch on `code`: a problem code of the API, or
 * - `unreachable` (status 0): no response, also after all attempts;
 * - `unexpected-response`: a response that is not from Meed, such as one of a proxy;
 * - `stream-interrupted` (status 200): a stream ended without a result.
 */
export class MeedError extends Error {
  override readonly name = "MeedError";
  /** The status of the response; 0 if there was none. */
  readonly status: number;
  readonly code: string;
  /** For people: what was wrong, with which value, and what to do. */
  readonly detail: string;
  /** The invalid fields of the request, by JSON Pointer. */
  readonly errors: readonly FieldError[];
  /** Quote it when you report a problem. */
  readonly requestId: string | undefined;
  /** In seconds, if a later retry can succeed. */
  readonly retryAfter: number | undefined;
  /** The whole problem, with the members that only some codes have, such as `rewardRequestId`. */
  readonly problem: Problem | undefined;
  /** For `recordStream`: the last line that was dealt with. Resume with `firstLine: through + 1`. */
  through: number | undefined;

  constructor(failure: Failure) {
    const { status, code, detail, errors, requestId, retryAfter, problem, cause } = failure;
    super(`${code}: ${detail}`, cause === undefined ? undefined : { cause });
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.errors = errors ?? [];
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.problem = problem;
  }
}

export type VerificationCode =
  /** Not a document of this kind, or of a format that this version does not know. */
  | "format"
  /** The content, the salt or the digest was changed. */
  | "digest"
  /** The terms were changed. */
  | "terms"
  /** The path does not fit the tree. */
  | "path"
  /** No trusted key has this id. */
  | "untrusted-key"
  /** The signature is not of this content by this key. */
  | "signature"
  /** A webhook is too old, or from the future: possibly a replay attack. */
  | "timestamp";

/** A receipt or a webhook that is not authentic. */
export class VerificationError extends Error {
  override readonly name = "VerificationError";

  constructor(
    readonly code: VerificationCode,
    message: string,
  ) {
    super(message);
  }
}
