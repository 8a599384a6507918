// Meed's contract in AssemblyScript: what a rule may ask, what it is told, and how it answers.
// Everything here is pure; a rule has no clock, no randomness and no network. abi.ts carries it over the boundary.

import { Params } from "./params";
export { Params } from "./params";

// ---- what a rule is told ----

/** Milliseconds since the Unix epoch, UTC. */
export type Instant = i64;

export class LocalDate {
  constructor(public year: i32, public month: u8, public day: u8) {}
}

/** Wall-clock time in the event's zone; weekday 1 = Monday to 7 = Sunday. */
export class LocalTime {
  constructor(
    public date: LocalDate,
    public weekday: u8,
    public hour: u8,
    public minute: u8,
    public second: u8,
    public utcOffsetMinutes: i16,
  ) {}
}

/** It runs from `starts` until just before `ends`. */
export class Event {
  constructor(public id: string, public title: string, public starts: Instant, public ends: Instant) {}
}

export class User {
  constructor(public id: string, public registered: Instant) {}
}

/** `maxQuantity` is the most that this claim may be awarded; 0 = sold out. */
export class Reward {
  constructor(
    public id: string,
    public kind: string,
    public hasValue: bool,
    public value: i64,
    public maxQuantity: u32,
  ) {}
}

export class Context {
  constructor(
    /** The one clock read of this decision. */
    public now: Instant,
    public local: LocalTime,
    /** The event's zone, an IANA name. */
    public timeZone: string,
    public event: Event,
    public user: User,
    public rewards: Reward[],
    /** 32 bytes, the only source of chance; see `draw`. */
    public seed: StaticArray<u8>,
  ) {}

  /** A fair number from 0 to `below` - 1, the same for the same seed. */
  draw(below: u32): u32 {
    let rest: u64 = 0;
    for (let i = 0; i < this.seed.length; i++) rest = ((rest << 8) | this.seed[i]) % below;
    return <u32>rest;
  }
}

/** Consecutive days; `lastDay` is null when there was none. */
export class Streak {
  constructor(public current: u32, public longest: u32, public lastDay: LocalDate | null) {}
}

/** Answers a query. Which field counts depends on the query; `absent` means there is no such instant or attribute. */
export class Fact {
  absent: bool = false;
  /** Of `count`, `sum`, `distinctDays` and `grants`. */
  integer: i64 = 0;
  /** Of `first` and `last`. */
  at: Instant = 0;
  /** Of `attribute`. */
  text: string = "";
  /** Of `streak`. */
  days: Streak = new Streak(0, 0, null);
}

// ---- what a rule asks ----

/** About activities it means the claimant's own since the event began, unless told more. */
export class Query {
  subject: u8 = 0;
  window: u8 = 0;
  bound: i64 = 0;
  filters: string[] = [];
  constructor(public kind: u8, public name: string) {}

  /** So many calendar days in the event's zone, today included: 1 is today. */
  lastDays(days: u32): Query { this.window = 2; this.bound = days; return this; }
  since(instant: Instant): Query { this.window = 3; this.bound = instant; return this; }
  /** Mind the cost: it grows with the user's history. */
  allTime(): Query { this.window = 1; return this; }
  /** Only activities with this attribute, as text; several filters must all hold. */
  filter(attribute: string, equals: string): Query { this.filters.push(attribute); this.filters.push(equals); return this; }
  /** The activities of all users whom the claimant invited. */
  ofInvitees(): Query { this.subject = 1; return this; }
}

/** The number of activities of a kind. */
export function count(kind: string): Query { return new Query(0, kind); }
/** The sum of their amounts, in minor units (cents). */
export function sum(kind: string): Query { return new Query(1, kind); }
/** The number of calendar days, in the event's zone, with at least one. */
export function distinctDays(kind: string): Query { return new Query(2, kind); }
/** Consecutive days with one; ask for one day more than you need, because a run may end yesterday. */
export function streak(kind: string): Query { return new Query(3, kind); }
export function first(kind: string): Query { return new Query(4, kind); }
export function last(kind: string): Query { return new Query(5, kind); }
/** An attribute of the user, as text. */
export function attribute(name: string): Query { return new Query(6, name); }
/** How often this user was granted this event before. */
export function grants(): Query { return new Query(7, ""); }

// ---- what a rule answers ----

export class Reason {
  constructor(public code: string, public message: string) {}
}

export class Progress {
  constructor(public key: string, public current: i64, public target: i64) {}
}

export class Award {
  constructor(public rewardId: string, public quantity: u32) {}
}

/** Eligible, until a reason refuses it: one of each reward, unless `award` chooses. */
export class Decision {
  eligible: bool = true;
  reasons: Reason[] = [];
  goals: Progress[] = [];
  awards: Award[] = [];
  hasRetry: bool = false;
  retry: Instant = 0;

  /** Makes it "not yet". The code is for programs and never changes, the message is for people. */
  refuse(code: string, message: string): Decision { this.eligible = false; return this.reason(code, message); }
  reason(code: string, message: string): Decision { this.reasons.push(new Reason(code, message)); return this; }
  /** How far the user is; kept within 0 and the target. */
  progress(key: string, current: i64, target: i64): Decision {
    this.goals.push(new Progress(key, max<i64>(0, min<i64>(current, target)), target));
    return this;
  }
  award(rewardId: string, quantity: u32): Decision { this.awards.push(new Award(rewardId, quantity)); return this; }
  retryAt(instant: Instant): Decision { this.hasRetry = true; this.retry = instant; return this; }
}

// ---- a rule ----

/** A fault in the params: a JSON Pointer and a sentence for the operator. */
export class Issue {
  constructor(public path: string, public message: string) {}
}

export abstract class Rule {
  abstract get title(): string;
  abstract get description(): string;
  /** JSON Schema of the params. The server checks it before the rule is asked. */
  abstract get schema(): string;
  /** What the schema cannot say. */
  check(params: Params): Issue[] { return []; }
  /** Depends on nothing but the params. */
  abstract plan(params: Params): Query[];
  /** Is told the facts in the order of the plan. */
  abstract decide(params: Params, facts: Fact[], context: Context): Decision;
}
