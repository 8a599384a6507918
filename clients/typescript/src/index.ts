/** Client of Meed: claims, activities, users, receipts and webhooks. */

export { Meed } from "./client.js";
export type {
  ClaimOptions,
  GrantFilter,
  MeedOptions,
  ProgressEvent,
  RewardRequestEvent,
  RewardRequestFilter,
  StreamOptions,
  UserReference,
} from "./client.js";
export { MeedError, VerificationError } from "./errors.js";
export type { VerificationCode } from "./errors.js";
export { verifyReceipt, verifyReversal } from "./receipts.js";
export type { VerifiedReceipt, VerifiedReversal } from "./receipts.js";
export type { CallOptions, RequestOptions } from "./transport.js";
export type * from "./types.js";
export type { Watched, WatchOptions } from "./watch.js";
export { verifyWebhook } from "./webhooks.js";
export type * from "./events.js";
export type { WebhookHeaders, WebhookOptions } from "./webhooks.js";
