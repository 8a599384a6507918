// Meed's contract in TypeScript: what a rule may ask, what it is told, and how it answers.
// Everything here is pure; a rule has no clock, no randomness and no network.

// ---- what a rule is told ----

/** Milliseconds since the Unix epoch, UTC. */
export type Instant = number;
export interface LocalDate { year: number; month: number; day: number }
/** Wall-clock time in the event's zone; weekday 1 = Monday to 7 = Sunday. */
export interface LocalTime {
  date: LocalDate; weekday: number; hour: number; minute: number; second: number; utcOffsetMinutes: number;
}
export interface Reward { id: string; kind: string; value?: number; maxQuantity: number }
export interface Context {
  /** The one clock read of this decision. */
  now: Instant;
  local: LocalTime;
  /** The event's zone, an IANA name. */
  timeZone: string;
  /** It runs from `starts` until just before `ends`. */
  event: { id: string; title: string; starts: Instant; ends: Instant };
  user: { id: string; registered: Instant };
  rewards: Reward[];
  /** 32 bytes, the only source of chance; see `draw`. */
  seed: Uint8Array;
}
export interface Streak { current: number; longest: number; lastDay?: LocalDate }

/** A fair number from 0 to `below` - 1, the same for the same seed. */
export function draw(seed: Uint8Array, below: number): number {
  let number = 0n;
  for (const byte of seed) number = (number << 8n) | BigInt(byte);
  return Number(number % BigInt(below));
}

/** Writes a note for you, the author; it cannot sway a decision. */
export { note } from "meed:condition/log@1.0.0";

// ---- what a rule asks ----

type Window =
  | { tag: "event-period" } | { tag: "all-time" } | { tag: "last-days"; val: number } | { tag: "since"; val: Instant };

/** A question whose answer is an `Answer`. About activities it means the claimant's own since the event began, unless told more. */
export class Query<Answer> {
  declare private answer: Answer;
  constructor(private readonly tag: string, private readonly val?: unknown) {}

  private with(members: object): Query<Answer> {
    return new Query(this.tag, { ...(this.val as object), ...members });
  }
  private within(window: Window): Query<Answer> { return this.with({ window }); }
  /** So many calendar days in the event's zone, today included: 1 is today. */
  lastDays(days: number): Query<Answer> { return this.within({ tag: "last-days", val: days }); }
  since(instant: Instant): Query<Answer> { return this.within({ tag: "since", val: instant }); }
  /** Mind the cost: it grows with the user's history. */
  allTime(): Query<Answer> { return this.within({ tag: "all-time" }); }
  /** Only activities with this attribute, as text; several filters must all hold. */
  filter(attribute: string, equals: string): Query<Answer> {
    const { filters } = this.val as { filters: object[] };
    return this.with({ filters: [...filters, { attribute, equals }] });
  }
  /** The activities of all users whom the claimant invited. */
  ofInvitees(): Query<Answer> { return this.with({ subject: "invitees" }); }

  toWire(): object { return this.val === undefined ? { tag: this.tag } : { tag: this.tag, val: this.val }; }
}

const activities = <Answer>(tag: string, kind: string): Query<Answer> =>
  new Query(tag, { kind, subject: "claimant", window: { tag: "event-period" }, filters: [] });
/** The number of activities of a kind. */
export const count = (kind: string) => activities<number>("count", kind);
/** The sum of their amounts, in minor units (cents). Within plus or minus 2^53 - 1, so a number holds it exactly. */
export const sum = (kind: string) => activities<number>("sum", kind);
/** The number of calendar days, in the event's zone, with at least one. */
export const distinctDays = (kind: string) => activities<number>("distinct-days", kind);
/** Consecutive days with one; ask for one day more than you need, because a run may end yesterday. */
export const streak = (kind: string) => activities<Streak>("streak", kind);
export const first = (kind: string) => activities<Instant | undefined>("first", kind);
export const last = (kind: string) => activities<Instant | undefined>("last", kind);
/** An attribute of the user, as text. */
export const attribute = (name: string) => new Query<string | undefined>("attribute", name);
/** How often this user was granted this event before. */
export const grants = () => new Query<number>("grants");

// ---- what a rule answers ----

export class Decision {
  private eligible = true;
  private reasons: { code: string; message: string }[] = [];
  private goals: { key: string; current: number; target: number }[] = [];
  private chosen?: { rewardId: string; quantity: number }[];
  private retry?: Instant;

  /** The user has earned it: one of each reward, unless `award` chooses. */
  static eligible(): Decision { return new Decision(); }
  static notYet(code: string, message: string): Decision { return new Decision().refuse(code, message); }
  /** Makes it "not yet", for one more reason. The code is for programs and never changes, the message is for people. */
  refuse(code: string, message: string): this { this.eligible = false; return this.reason(code, message); }
  reason(code: string, message: string): this { this.reasons.push({ code, message }); return this; }
  /** How far the user is; kept within 0 and the target. */
  progress(key: string, current: number, target: number): this {
    this.goals.push({ key, current: Math.max(0, Math.min(current, target)), target });
    return this;
  }
  award(rewardId: string, quantity: number): this { (this.chosen ??= []).push({ rewardId, quantity }); return this; }
  retryAt(instant: Instant): this { this.retry = instant; return this; }

  toWire(): object {
    return {
      eligible: this.eligible,
      reasons: this.reasons,
      progress: this.goals,
      awards: this.chosen ? { tag: "chosen", val: this.chosen } : { tag: "all" },
      retryAt: this.retry,
    };
  }
}

// ---- a rule ----

/** A fault in the params: a JSON Pointer and a sentence for the operator. */
export interface Issue { path: string; message: string }
/** Named queries; the rule is told the facts under the same names. */
export type Plan = Record<string, Query<unknown>>;
export type Facts<Q extends Plan> = { [Name in keyof Q]: Q[Name] extends Query<infer Answer> ? Answer : never };
export interface Schema { type: "object"; properties: Record<string, { default?: unknown; [keyword: string]: unknown }>; [keyword: string]: unknown }

export interface Rule<Params, Q extends Plan> {
  name: string;
  version: string;
  title: string;
  description: string;
  /** JSON Schema of the params. The server checks it before the rule is asked; its defaults are filled in here. */
  params: Schema;
  /** What the schema cannot say. */
  check?(params: Params): Issue[];
  /** Depends on nothing but the params. */
  plan(params: Params): Q;
  decide(params: Params, facts: Facts<Q>, context: Context): Decision;
}

interface Fact { tag: string; val?: unknown }

/** Turns a rule into the three functions that the server calls: `export const { describe, bind, evaluate } = condition({...})`. */
export function condition<Params, Q extends Plan>(rule: Rule<Params, Q>) {
  const read = (text: string): Params => {
    const defaults = Object.entries(rule.params.properties)
      .filter(([, schema]) => schema.default !== undefined)
      .map(([name, schema]) => [name, schema.default]);
    return { ...Object.fromEntries(defaults), ...JSON.parse(text) };
  };
  return {
    describe: () => ({
      name: rule.name,
      version: rule.version,
      title: rule.title,
      description: rule.description,
      paramsSchema: JSON.stringify(rule.params),
    }),
    // The state is the text of the params: short, and reading it again is quicker than any detour.
    bind: (text: string) => {
      const params = read(text);
      const issues = rule.check?.(params) ?? [];
      if (issues.length > 0) throw issues;
      return { queries: Object.values(rule.plan(params)).map((query) => query.toWire()), state: toUtf8(text) };
    },
    evaluate: (context: Context, state: Uint8Array, answers: Fact[]) => {
      const params = read(fromUtf8(state));
      const names = Object.keys(rule.plan(params));
      const facts = Object.fromEntries(names.map((name, index) => [name, answers[index]?.val])) as Facts<Q>;
      // The runtime reads unsigned numbers as signed ones.
      const rewards = context.rewards.map((reward) => ({ ...reward, maxQuantity: reward.maxQuantity >>> 0 }));
      return rule.decide(params, facts, { ...context, rewards }).toWire();
    },
  };
}

// The runtime has no TextEncoder; percent-encoding is UTF-8 in another dress.
const toUtf8 = (text: string) =>
  Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
const fromUtf8 = (bytes: Uint8Array) =>
  decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
