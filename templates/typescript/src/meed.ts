// Meed's contract in TypeScript: queries, context, facts and decisions.
// Everything here is pure; a rule has no clock, no randomness and no network.

// ---- context and facts ----

/** Milliseconds since the Unix epoch, UTC. */
export type Instant = number;
export interface LocalDate { year: number; month: number; day: number }
/** Wall-clock time in the event's zone; weekday 1 = Monday to 7 = Sunday. */
export interface LocalTime {
  date: LocalDate; weekday: number; hour: number; minute: number; second: number; utcOffsetSeconds: number;
}
/** From `starts` on, local time is UTC plus `utcOffsetSeconds`. */
export interface ZoneOffset { starts: Instant; utcOffsetSeconds: number }
export interface Reward { id: string; kind: string; value?: number; maxQuantity: number }
export interface Context {
  /** The only clock reading of this decision. */
  now: Instant;
  local: LocalTime;
  /** The event's zone, an IANA name. */
  timeZone: string;
  /** The zone's offset of today, and every change within the next 400 days. */
  offsets: ZoneOffset[];
  /** It runs from `starts` until just before `ends`. */
  event: { id: string; title: string; starts: Instant; ends: Instant };
  user: { id: string; registered: Instant };
  rewards: Reward[];
  /** 32 bytes, the only source of randomness; see `draw`. */
  seed: Uint8Array;
}
export interface Streak { current: number; longest: number; lastDay?: LocalDate }

/** A fair number from 0 to `below` - 1, the same for the same seed. */
export function draw(seed: Uint8Array, below: number): number {
  let number = 0n;
  for (const byte of seed) number = (number << 8n) | BigInt(byte);
  return Number(number % BigInt(below));
}

/**
 * The first instant of a day in the event's zone: 0 is today, 1 is tomorrow. Exact across clock changes up to 400 days
 * ahead.
 */
export function startOfDay({ local: { date }, offsets }: Context, daysAhead: number): Instant {
  return startOf(Date.UTC(date.year, date.month - 1, date.day + daysAhead), offsets);
}
/** The first instant of next Monday. */
export const startOfNextWeek = (context: Context) => startOfDay(context, 8 - context.local.weekday);
export const startOfNextMonth = ({ local: { date }, offsets }: Context) =>
  startOf(Date.UTC(date.year, date.month, 1), offsets);

/** The first instant at which the local clock shows this midnight or a later time. */
function startOf(midnight: number, offsets: ZoneOffset[]): Instant {
  // Where the clock jumps over midnight, the day starts at the jump.
  const starts = offsets.map((offset) => Math.max(midnight - offset.utcOffsetSeconds * 1000, offset.starts));
  const valid = starts.find((start, index) => start < (offsets[index + 1]?.starts ?? Infinity));
  return valid ?? midnight;
}

/** Writes a note for the author. It cannot affect a decision. */
export { note } from "meed:condition/log@1.0.0";

// ---- queries ----

type Window =
  | { tag: "event-period" } | { tag: "all-time" } | { tag: "last-days"; val: number } | { tag: "since"; val: Instant };

/** A query whose fact is an `Answer`. About activities: by default the claimant's own since the event's start. */
export class Query<Answer> {
  declare private answer: Answer;
  constructor(private readonly tag: string, private readonly val?: unknown) {}

  private with(members: object): Query<Answer> {
    return new Query(this.tag, { ...(this.val as object), ...members });
  }
  private within(window: Window): Query<Answer> { return this.with({ window }); }
  /** A number of calendar days in the event's zone, today included: 1 is today. */
  lastDays(days: number): Query<Answer> { return this.within({ tag: "last-days", val: days }); }
  since(instant: Instant): Query<Answer> { return this.within({ tag: "since", val: instant }); }
  /** Its cost grows with the user's history. */
  allTime(): Query<Answer> { return this.within({ tag: "all-time" }); }
  /** Only activities with this attribute, as text; several filters must all match. */
  filter(attribute: string, equals: string): Query<Answer> {
    const { filters } = this.val as { filters: object[] };
    return this.with({ filters: [...filters, { attribute, equals }] });
  }
  /** The activities of all users that the claimant invited. */
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
/** The number of earlier grants of this event to this user. */
export const grants = () => new Query<number>("grants");

// ---- decisions ----

export class Decision {
  private outcome: "eligible" | "not-eligible" | "needs-review" = "eligible";
  private reasons: { code: string; message: string; args: { name: string; value: string }[] }[] = [];
  private goals: { key: string; current: number; target: number }[] = [];
  private chosen?: { rewardId: string; quantity: number }[];
  private retry?: Instant;

  /** The user gets one of each reward, unless `award` chooses. */
  static eligible(): Decision { return new Decision(); }
  static notYet(code: string, message: string): Decision { return new Decision().refuse(code, message); }
  /** Makes the user not eligible yet. The code is for programs and never changes, the message is for people. */
  refuse(code: string, message: string): this { this.outcome = "not-eligible"; return this.reason(code, message); }
  /** Leaves an eligible decision to a person. */
  review(code: string, message: string): this {
    if (this.outcome === "eligible") this.outcome = "needs-review";
    return this.reason(code, message);
  }
  reason(code: string, message: string): this { this.reasons.push({ code, message, args: [] }); return this; }
  /** Adds a named value to the last reason, for translations of its message. */
  arg(name: string, value: string | number): this {
    this.reasons.at(-1)?.args.push({ name, value: String(value) });
    return this;
  }
  /** The user's progress towards a target; kept within 0 and the target. */
  progress(key: string, current: number, target: number): this {
    this.goals.push({ key, current: Math.max(0, Math.min(current, target)), target });
    return this;
  }
  award(rewardId: string, quantity: number): this { (this.chosen ??= []).push({ rewardId, quantity }); return this; }
  retryAt(instant: Instant): this { this.retry = instant; return this; }

  toWire(): object {
    return {
      outcome: this.outcome,
      reasons: this.reasons,
      progress: this.goals,
      awards: this.chosen ? { tag: "chosen", val: this.chosen } : { tag: "all" },
      retryAt: this.retry,
    };
  }
}

// ---- a rule ----

/** A fault in the params: a JSON Pointer and a message for the operator. */
export interface Issue { path: string; message: string }
/** Named queries; the facts have the same names. */
export type Plan = Record<string, Query<unknown>>;
export type Facts<Q extends Plan> = { [Name in keyof Q]: Q[Name] extends Query<infer Answer> ? Answer : never };
export interface Schema { type: "object"; properties: Record<string, { default?: unknown; [keyword: string]: unknown }>; [keyword: string]: unknown }

/** Names of the progress keys for users. */
export type Labels = Record<string, string>;
/** A label that is left out keeps the default. */
export interface Translation { title: string; description: string; labels?: Labels }

export interface Rule<Params, Q extends Plan> {
  name: string;
  version: string;
  title: string;
  description: string;
  labels?: Labels;
  /** By BCP 47 tag. */
  translations?: Record<string, Translation>;
  /** JSON Schema of the params. The server checks params against it before the rule runs; defaults are filled in here. */
  params: Schema;
  /** Faults that the schema cannot express. */
  check?(params: Params): Issue[];
  /** Depends on the params alone. */
  plan(params: Params): Q;
  decide(params: Params, facts: Facts<Q>, context: Context): Decision;
}

interface Fact { tag: string; val?: unknown }

const labelsToWire = (labels: Labels = {}) => Object.entries(labels).map(([key, text]) => ({ key, text }));

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
      labels: labelsToWire(rule.labels),
      translations: Object.entries(rule.translations ?? {}).map(([language, texts]) => ({
        language, title: texts.title, description: texts.description, labels: labelsToWire(texts.labels),
      })),
      paramsSchema: JSON.stringify(rule.params),
    }),
    // The state is the text of the params: short, and fast to parse again.
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

// The runtime has no TextEncoder. Percent-encoding gives the bytes of UTF-8.
const toUtf8 = (text: string) =>
  Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
const fromUtf8 = (bytes: Uint8Array) =>
  decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
