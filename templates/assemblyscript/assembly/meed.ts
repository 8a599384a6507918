// Meed's contract in AssemblyScript: queries, context, facts and decisions.
// Everything here is pure; a rule has no clock, no randomness and no network. abi.ts translates to the canonical ABI.

import { Params } from "./params";
export { Params } from "./params";

// ---- context and facts ----

/** Milliseconds since the Unix epoch, UTC. */
export type Instant = i64;

export class LocalDate {
  constructor(public year: i32, public month: u8, public day: u8) {}

  /** Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last. */
  get number(): i64 {
    let year: i64 = this.year, month: i64 = <i64>this.month - 3;
    if (month < 0) { year--; month += 12; }
    return year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + <i64>this.day - 1 - 719468;
  }
}

/** Wall-clock time in the event's zone; weekday 1 = Monday to 7 = Sunday. */
export class LocalTime {
  constructor(
    public date: LocalDate,
    public weekday: u8,
    public hour: u8,
    public minute: u8,
    public second: u8,
    public utcOffsetSeconds: i32,
  ) {}
}

/** From `starts` on, local time is UTC plus `utcOffsetSeconds`. */
export class ZoneOffset {
  constructor(public starts: Instant, public utcOffsetSeconds: i32) {}
}

/** It runs from `starts` until just before `ends`. */
export class Event {
  constructor(public id: string, public title: string, public starts: Instant, public ends: Instant) {}
}

export class User {
  constructor(public id: string, public registered: Instant) {}
}

/** `maxQuantity` is the largest quantity that this claim may award; 0 = sold out. */
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
    /** The only clock reading of this decision. */
    public now: Instant,
    public local: LocalTime,
    /** The event's zone, an IANA name. */
    public timeZone: string,
    /** The zone's offset of today, and every change within the next 400 days. */
    public offsets: ZoneOffset[],
    public event: Event,
    public user: User,
    public rewards: Reward[],
    /** 32 bytes, the only source of randomness; see `draw`. */
    public seed: StaticArray<u8>,
  ) {}

  /**
   * The first instant of a day in the event's zone: 0 is today, 1 is tomorrow. Exact across clock changes up to 400 days
   * ahead.
   */
  startOfDay(daysAhead: u32): Instant { return this.startOf(this.local.date.number + daysAhead); }
  /** The first instant of next Monday. */
  startOfNextWeek(): Instant { return this.startOfDay(8 - <u32>this.local.weekday); }
  startOfNextMonth(): Instant {
    const today = this.local.date;
    return this.startOf(new LocalDate(today.year + today.month / 12, today.month % 12 + 1, 1).number);
  }

  /** The first instant at which the local clock shows this day's midnight or a later time. */
  private startOf(day: i64): Instant {
    const midnight = day * 86400000;
    let start = midnight;
    for (let i = 0; i < this.offsets.length; i++) {
      const offset = this.offsets[i];
      // Where the clock jumps over midnight, the day starts at the jump.
      start = max<i64>(midnight - <i64>offset.utcOffsetSeconds * 1000, offset.starts);
      if (i + 1 == this.offsets.length || start < this.offsets[i + 1].starts) break;
    }
    return start;
  }

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

/** Answers a query, which determines the valid field. `absent`: there is no such instant or attribute. */
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

// ---- queries ----

/** About activities: by default the claimant's own since the event's start. */
export class Query {
  subject: u8 = 0;
  window: u8 = 0;
  bound: i64 = 0;
  filters: string[] = [];
  constructor(public kind: u8, public name: string) {}

  /** A number of calendar days in the event's zone, today included: 1 is today. */
  lastDays(days: u32): Query { this.window = 2; this.bound = days; return this; }
  since(instant: Instant): Query { this.window = 3; this.bound = instant; return this; }
  /** Its cost grows with the user's history. */
  allTime(): Query { this.window = 1; return this; }
  /** Only activities with this attribute, as text; several filters must all match. */
  filter(attribute: string, equals: string): Query { this.filters.push(attribute); this.filters.push(equals); return this; }
  /** The activities of all users that the claimant invited. */
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
/** The number of earlier grants of this event to this user. */
export function grants(): Query { return new Query(7, ""); }

// ---- decisions ----

export class Reason {
  /** Names and values by turns. */
  args: string[] = [];
  constructor(public code: string, public message: string) {}
}

export class Progress {
  constructor(public key: string, public current: i64, public target: i64) {}
}

export class Award {
  constructor(public rewardId: string, public quantity: u32) {}
}

export enum Outcome { Eligible, NotEligible, NeedsReview }

/** Eligible until it is refused: one of each reward, unless `award` chooses. */
export class Decision {
  outcome: Outcome = Outcome.Eligible;
  reasons: Reason[] = [];
  goals: Progress[] = [];
  awards: Award[] = [];
  hasRetry: bool = false;
  retry: Instant = 0;

  /** Makes the user not eligible yet. The code is for programs and never changes, the message is for people. */
  refuse(code: string, message: string): Decision { this.outcome = Outcome.NotEligible; return this.reason(code, message); }
  /** Leaves an eligible decision to a person. */
  review(code: string, message: string): Decision {
    if (this.outcome == Outcome.Eligible) this.outcome = Outcome.NeedsReview;
    return this.reason(code, message);
  }
  reason(code: string, message: string): Decision { this.reasons.push(new Reason(code, message)); return this; }
  /** Adds a named value to the last reason, for translations of its message. */
  arg(name: string, value: string): Decision {
    if (this.reasons.length > 0) {
      const args = this.reasons[this.reasons.length - 1].args;
      args.push(name);
      args.push(value);
    }
    return this;
  }
  /** The user's progress towards a target; kept within 0 and the target. */
  progress(key: string, current: i64, target: i64): Decision {
    this.goals.push(new Progress(key, max<i64>(0, min<i64>(current, target)), target));
    return this;
  }
  award(rewardId: string, quantity: u32): Decision { this.awards.push(new Award(rewardId, quantity)); return this; }
  retryAt(instant: Instant): Decision { this.hasRetry = true; this.retry = instant; return this; }
}

// ---- a rule ----

/** A fault in the params: a JSON Pointer and a message for the operator. */
export class Issue {
  constructor(public path: string, public message: string) {}
}

/** The rule's texts in one language, a BCP 47 tag. A label that is left out keeps the default. */
export class Translation {
  constructor(public language: string, public title: string, public description: string, public labels: string[]) {}
}

export abstract class Rule {
  abstract get title(): string;
  abstract get description(): string;
  /** Names of the progress keys for users: keys and texts by turns. */
  get labels(): string[] { return []; }
  get translations(): Translation[] { return []; }
  /** JSON Schema of the params. The server checks params against it before the rule runs. */
  abstract get schema(): string;
  /** Faults that the schema cannot express. */
  check(params: Params): Issue[] { return []; }
  /** Depends on the params alone. */
  abstract plan(params: Params): Query[];
  /** Gets the facts in the order of the plan. */
  abstract decide(params: Params, facts: Fact[], context: Context): Decision;
}
