/** The calls of a back end that uses Meed. */

import { MeedError } from "./errors.js";
import { recordLines } from "./stream.js";
import { type CallOptions, type RequestOptions, readJson, segment, Transport, type TransportOptions } from "./transport.js";
import type {
  Acknowledgement,
  Attributes,
  EventProgress,
  ExternalUser,
  GrantDetail,
  IngestionProgress,
  JwkSet,
  NewActivity,
  Recorded,
  RewardRequest,
  SignedReceipt,
  SignedReversal,
  Status,
  Upserts,
  UserDetails,
} from "./types.js";
import { watch, type Watched, type WatchOptions } from "./watch.js";

export type RewardRequestEvent = Watched<"reward-request", RewardRequest> | Watched<"reset", Record<string, never>>;

export type ProgressEvent = Watched<"progress", EventProgress>;

export type MeedOptions = TransportOptions;

/** A user by Meed's id or by yours. A user's own token needs neither. */
export type UserReference =
  | { userId?: string; externalUserId?: never }
  | { externalUserId?: string; userId?: never };

export interface ClaimOptions extends CallOptions {
  /** By default a new one for each call, which all its attempts use. Give one to repeat a claim in another process. */
  idempotencyKey?: string | undefined;
  /** Answer before the decision: the request is `RECEIVED`, and `waitForDecision` waits for its decision. */
  respondAsync?: boolean | undefined;
}

interface ListFilter {
  eventId?: string;
  /** Inclusive, RFC 3339. */
  from?: string;
  /** Exclusive, RFC 3339. */
  to?: string;
  /** How many items one request gets, 1 to 200; the iterator gets all of them. */
  pageSize?: number;
}

export type GrantFilter = ListFilter &
  UserReference & { fulfilment?: "PENDING" | "DELIVERED" | "FAILED"; requestStatus?: Status };

export type RewardRequestFilter = ListFilter & UserReference & { status?: Status };

export interface StreamOptions extends CallOptions {
  /** The number of the first activity, from 1: the one after `through` when you resume. */
  firstLine?: number | undefined;
}

/**
 * A client with a service key or an access token. All calls that are safe to repeat are repeated after network errors and
 * overload; a failed call throws a `MeedError`.
 */
export class Meed {
  readonly #transport: Transport;

  constructor(options: MeedOptions) {
    this.#transport = new Transport(options);
  }

  /**
   * Claims an event's rewards for a user. The result may be `GRANTED`, `REJECTED` with reasons, `HELD`, `FAILED` or
   * `RECEIVED`; a repeat after a grant throws a `MeedError` with the code `already-granted`.
   */
  claim(claim: { eventId: string } & UserReference, options: ClaimOptions = {}): Promise<RewardRequest> {
    const headers: Record<string, string> = { "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() };
    if (options.respondAsync) headers["prefer"] = "respond-async";
    const call = { headers, body: claim, isSafe: true, signal: options.signal };
    return this.request("POST", "/reward-requests", call);
  }

  /** Polls a claim until it is decided. After `timeoutMs` (a minute) it returns the claim as it is, still `RECEIVED`. */
  async waitForDecision(id: string, options: CallOptions & { timeoutMs?: number } = {}): Promise<RewardRequest> {
    const end = Date.now() + (options.timeoutMs ?? 60_000);
    for (let pause = 100; ; pause = Math.min(2 * pause, 2_000)) {
      const request = await this.rewardRequest(id, options);
      if (request.status !== "RECEIVED" || Date.now() + pause > end) return request;
      await new Promise((resolve) => setTimeout(resolve, pause));
      options.signal?.throwIfAborted();
    }
  }

  /**
   * What a claim would say now, or at another instant: `asOf` is when things had happened, `knownBy` when they had been
   * recorded (RFC 3339; both need `audit:read`). Nothing is stored.
   */
  progress(
    eventId: string,
    user: UserReference & { asOf?: string; knownBy?: string } = {},
    options: CallOptions = {},
  ): Promise<EventProgress> {
    return this.request("GET", `/events/${segment(eventId)}/progress`, { ...options, query: { ...user } });
  }

  /**
   * Yields a user's reward requests as they change, from now on or after `lastEventId`. After a `reset`, some changes are lost
   * and the newest requests follow. A broken connection is opened again, and nothing is lost or repeated.
   */
  watchRewardRequests(user: UserReference = {}, options: WatchOptions = {}): AsyncGenerator<RewardRequestEvent> {
    return watch(this.#transport, "/reward-requests/stream", { ...user }, ["reward-request", "reset"], options);
  }

  /** Yields a user's progress in an event: now, and after each change. */
  watchProgress(eventId: string, user: UserReference = {}, options: WatchOptions = {}): AsyncGenerator<ProgressEvent> {
    const path = `/events/${segment(eventId)}/progress/stream`;
    return watch(this.#transport, path, { ...user }, ["progress"], options);
  }

  /**
   * Records one activity or up to 1000: all of them or none. `errors` of a `MeedError` points to the invalid ones:
   * `/3/kind` is the kind of the fourth.
   */
  record(activities: NewActivity | readonly NewActivity[], options: CallOptions = {}): Promise<Recorded> {
    return this.request("POST", "/activities", { ...options, body: activities, isSafe: true });
  }

  /**
   * Records any number of activities (or CloudEvents), in parts of up to 1000, and yields the totals and the errors after
   * each part. Invalid ones are left out. If it throws, the error's `through` is the last one that was dealt with: continue
   * with `firstLine: through + 1`. A part that was repeated counts as duplicates.
   */
  recordStream(
    activities: Iterable<NewActivity | object> | AsyncIterable<NewActivity | object>,
    options: StreamOptions = {},
  ): AsyncGenerator<IngestionProgress, void, undefined> {
    return recordLines(this.#transport, activities, options);
  }

  /** Creates the user of this external id if there is none. `attributes`, if given, replace all attributes. */
  upsertUser(externalId: string, attributes?: Attributes, options: CallOptions = {}): Promise<UserDetails> {
    const body = attributes === undefined ? {} : { attributes };
    return this.request("PUT", `/users/external/${segment(externalId)}`, { ...options, body, isSafe: true });
  }

  /** The same for up to 1000 users: all of them or none. */
  upsertUsers(users: readonly ExternalUser[], options: CallOptions = {}): Promise<Upserts> {
    return this.request("POST", "/users/external", { ...options, body: users, isSafe: true });
  }

  /** A user by external id; a `MeedError` with the code `no-such-user` if there is none. */
  user(externalId: string, options: CallOptions = {}): Promise<UserDetails> {
    return this.request("GET", `/users/external/${segment(externalId)}`, options);
  }

  /** All grants, newest first; the iterator gets the next page when it needs it. */
  grants(filter: GrantFilter = {}, options: CallOptions = {}): AsyncGenerator<GrantDetail, void, undefined> {
    return this.list("/grants", { ...options, query: { ...filter } });
  }

  /** Says whether the user has received a grant. */
  acknowledge(grantId: string, acknowledgement: Acknowledgement, options: CallOptions = {}): Promise<GrantDetail> {
    const path = `/grants/${segment(grantId)}/acknowledgement`;
    return this.request("POST", path, { ...options, body: acknowledgement, isSafe: true });
  }

  /** All reward requests, newest first; the iterator gets the next page when it needs it. */
  rewardRequests(
    filter: RewardRequestFilter = {},
    options: CallOptions = {},
  ): AsyncGenerator<RewardRequest, void, undefined> {
    return this.list("/reward-requests", { ...options, query: { ...filter } });
  }

  rewardRequest(id: string, options: CallOptions = {}): Promise<RewardRequest> {
    return this.request("GET", `/reward-requests/${segment(id)}`, options);
  }

  /** The proof of a decision; `verifyReceipt` verifies it. */
  receipt(requestId: string, options: CallOptions = {}): Promise<SignedReceipt> {
    return this.request("GET", `/reward-requests/${segment(requestId)}/receipt`, options);
  }

  /** The proof of a reversal; `verifyReversal` verifies it. */
  reversalReceipt(requestId: string, options: CallOptions = {}): Promise<SignedReversal> {
    return this.request("GET", `/reward-requests/${segment(requestId)}/reversal/receipt`, options);
  }

  /** The keys that sign receipts. Get them once over a connection that you trust, and keep them. */
  receiptKeys(options: CallOptions = {}): Promise<JwkSet> {
    return this.request("GET", "/.well-known/receipt-keys.json", options);
  }

  /** Any other route of the API that responds with JSON or without a body. */
  request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    return this.#transport.send(method, path, options, (text, response) =>
      text === "" ? (undefined as T) : readJson<T>(text, response),
    );
  }

  /** Any other list of the API, item by item. */
  async *list<T>(path: string, options: RequestOptions = {}): AsyncGenerator<T, void, undefined> {
    let pageToken: string | undefined;
    do {
      const query = { ...options.query, ...(pageToken === undefined ? {} : { pageToken }) };
      const page: { items: T[]; nextPageToken?: string | null } = await this.request("GET", path, { ...options, query });
      if (!Array.isArray(page?.items)) {
        throw new MeedError({ status: 200, code: "unexpected-response", detail: `${path} is not a list` });
      }
      yield* page.items;
      pageToken = page.nextPageToken ?? undefined;
    } while (pageToken !== undefined);
  }
}
