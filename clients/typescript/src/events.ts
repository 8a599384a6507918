/** The messages of webhooks: CloudEvents 1.0. */

import type { Grant, Reason, Schemas } from "./types.js";

/** A CloudEvent with a type and its data. */
export interface CloudEvent<Type extends string, Data> {
  specversion: "1.0";
  /** The same message can arrive more than once: deduplicate by the id. */
  id: string;
  source: string;
  type: Type;
  subject: string;
  time: string;
  datacontenttype: string;
  /** The `X-Request-Id` of the HTTP request that caused the message. */
  requestid?: string;
  data: Data;
}

interface Granted {
  requestId: string;
  eventId: string;
  userId: string;
}

export type RewardGranted = CloudEvent<"reward.granted", Granted & { grants: Grant[]; grantedAt: string }>;
export type RewardReversed = CloudEvent<
  "reward.reversed",
  Granted & { reversalId: string; grants: Schemas["ReversedGrant"][]; reason: string; reversedAt: string }
>;
export type RewardLimitReached = CloudEvent<"reward.limit-reached", Granted & { code: string; rejectedAt: string }>;
export type RewardCodesLow = CloudEvent<
  "reward.codes-low",
  { rewardId: string; remaining: number; total: number; lowWater: number }
>;
export type ClaimHeld = CloudEvent<
  "claim.held",
  Granted & { reasons: Reason[]; heldAt: string; heldUntil: string }
>;
export type ClaimDenied = CloudEvent<
  "claim.denied",
  Granted & { outcome: "DENIED" | "EXPIRED"; reason: string | null; deniedAt: string }
>;
export type ClaimRejected = CloudEvent<
  "claim.rejected",
  Granted & { status: "REJECTED" | "FAILED"; reasons: Reason[]; decidedAt: string }
>;
export type EventChanged = CloudEvent<
  "event.created" | "event.changed" | "event.deleted",
  { eventId: string; revision: number; event: Schemas["Event"] | null; changedBy: string; changedAt: string }
>;
export type ReleaseChanged = CloudEvent<
  | "release.created"
  | "release.submitted"
  | "release.edited"
  | "release.waived"
  | "release.approved"
  | "release.rejected"
  | "release.outdated"
  | "release.schedule-missed"
  | "release.started"
  | "release.advanced"
  | "release.held"
  | "release.resumed"
  | "release.activated"
  | "release.rolled-back"
  | "release.withdrawn",
  {
    releaseId: string;
    eventId: string;
    revision: number;
    state: Schemas["ReleaseState"];
    title: string;
    hash: string;
    by: string | null;
    at: string;
    text: string | null;
  }
>;
export type PluginChanged = CloudEvent<
  | "plugin.uploaded"
  | "plugin.signed"
  | "plugin.disabled"
  | "plugin.enabled"
  | "plugin.quarantined"
  | "plugin.released"
  | "plugin.deleted",
  { plugin: string; version: string; digest: string; by: string | null; at: string; detail: string | null }
>;
export type AuditCheckpoint = CloudEvent<
  "audit.checkpoint",
  { size: number; rootHash: string; createdAt: string; checkpoint: string }
>;
export type WebhookPing = CloudEvent<"webhook.ping", { endpointId: string }>;

/** Every message of this version of Meed. Later ones may have more types and members: ignore what you do not know. */
export type WebhookEvent =
  | RewardGranted
  | RewardReversed
  | RewardLimitReached
  | RewardCodesLow
  | ClaimHeld
  | ClaimDenied
  | ClaimRejected
  | EventChanged
  | ReleaseChanged
  | PluginChanged
  | AuditCheckpoint
  | WebhookPing;
