// The canonical ABI of the world meed:condition/condition@1.0.0, written by hand. Texts are UTF-8 there and UTF-16 in
// strings here. This is the compiler's entry file: it exports the functions that the server calls.

import {
  Context, Event, Fact, LocalDate, LocalTime, Params, Query, Reason, Reward, Streak, User, ZoneOffset,
} from "./meed";
import { NAME, VERSION } from "./plugin";
import { rule } from "./rule";

// Memory is never freed: an instance serves one call.
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const start = allocate(size);
  memory.copy(start, old, min(oldSize, size));
  return start;
}

function allocate(size: usize): usize {
  return (heap.alloc(size + 8) + 7) & ~7; // 8 is the largest alignment there is
}

// ---- input ----

function text(at: usize): string {
  return String.UTF8.decodeUnsafe(load<u32>(at), load<u32>(at, 4));
}

function date(at: usize): LocalDate {
  return new LocalDate(load<i32>(at), load<u8>(at, 4), load<u8>(at, 5));
}

function context(at: usize): Context {
  const local = new LocalTime(
    date(at + 8), load<u8>(at, 16), load<u8>(at, 17), load<u8>(at, 18), load<u8>(at, 19), load<i32>(at, 20),
  );
  const offsets: ZoneOffset[] = [];
  for (let i: u32 = 0, offset: usize = load<u32>(at, 32); i < load<u32>(at, 36); i++, offset += 16) {
    offsets.push(new ZoneOffset(load<i64>(offset), load<i32>(offset, 8)));
  }
  const rewards: Reward[] = [];
  for (let i: u32 = 0, reward: usize = load<u32>(at, 88); i < load<u32>(at, 92); i++, reward += 40) {
    const hasValue = load<bool>(reward, 16);
    const value = hasValue ? load<i64>(reward, 24) : 0;
    rewards.push(new Reward(text(reward), text(reward + 8), hasValue, value, load<u32>(reward, 32)));
  }
  const seed = new StaticArray<u8>(load<u32>(at, 100));
  memory.copy(changetype<usize>(seed), load<u32>(at, 96), seed.length);
  return new Context(
    load<i64>(at), local, text(at + 24), offsets,
    new Event(text(at + 40), text(at + 48), load<i64>(at, 56), load<i64>(at, 64)),
    new User(text(at + 72), load<i64>(at, 80)),
    rewards, seed,
  );
}

function facts(at: usize, count: u32): Fact[] {
  const facts: Fact[] = [];
  for (let i: u32 = 0; i < count; i++, at += 32) {
    const fact = new Fact();
    switch (load<u8>(at)) {
      case 1: fact.integer = load<i64>(at, 8); break;
      case 2: fact.at = load<i64>(at, 8); break;
      case 3: fact.text = text(at + 8); break;
      case 4:
        fact.days = new Streak(load<u32>(at, 8), load<u32>(at, 12), load<bool>(at, 16) ? date(at + 20) : null);
        break;
      default: fact.absent = true;
    }
    facts.push(fact);
  }
  return facts;
}

// ---- output ----

function storeText(at: usize, value: string): void {
  const bytes = String.UTF8.encode(value);
  store<u32>(at, changetype<usize>(bytes));
  store<u32>(at, bytes.byteLength, 4);
}

/** Stores a list of `count` records and returns the address of the first. */
function storeList(at: usize, count: i32, size: i32): usize {
  const start = allocate(count * size);
  store<u32>(at, start);
  store<u32>(at, count, 4);
  return start;
}

function storeQuery(at: usize, query: Query): void {
  store<u8>(at, query.kind);
  storeText(at + 8, query.name);
  store<u8>(at, query.subject, 16);
  store<u8>(at, query.window, 24);
  store<i64>(at, query.bound, 32);
  storePairs(at + 40, query.filters);
}

function storeReason(at: usize, reason: Reason): void {
  storeText(at, reason.code);
  storeText(at + 8, reason.message);
  storePairs(at + 16, reason.args);
}

/** A list of pairs of texts: `[key, text, key, text]`. */
function storePairs(at: usize, texts: string[]): void {
  const pair = storeList(at, texts.length / 2, 16);
  for (let i = 0; i < texts.length; i++) storeText(pair + i * 8, texts[i]);
}

export function describe(): usize {
  const at = allocate(56);
  storeText(at, NAME);
  storeText(at + 8, VERSION);
  storeText(at + 16, rule.title);
  storeText(at + 24, rule.description);
  storePairs(at + 32, rule.labels);
  const translations = rule.translations;
  let record = storeList(at + 40, translations.length, 32);
  for (let i = 0; i < translations.length; i++, record += 32) {
    storeText(record, translations[i].language);
    storeText(record + 8, translations[i].title);
    storeText(record + 16, translations[i].description);
    storePairs(record + 24, translations[i].labels);
  }
  storeText(at + 48, rule.schema);
  return at;
}

export function bind(start: usize, length: usize): usize {
  const params = new Params(String.UTF8.decodeUnsafe(start, length));
  const issues = rule.check(params);
  const at = allocate(20);
  store<u8>(at, issues.length > 0 ? 1 : 0);
  if (issues.length > 0) {
    const record = storeList(at + 4, issues.length, 16);
    for (let i = 0; i < issues.length; i++) {
      storeText(record + i * 16, issues[i].path);
      storeText(record + i * 16 + 8, issues[i].message);
    }
    return at;
  }
  const queries = rule.plan(params);
  const record = storeList(at + 4, queries.length, 48);
  for (let i = 0; i < queries.length; i++) storeQuery(record + i * 48, queries[i]);
  // The state is the text of the params: short, and fast to parse again.
  store<u32>(at, start, 12);
  store<u32>(at, length, 16);
  return at;
}

export function evaluate(at: usize): usize {
  const state = String.UTF8.decodeUnsafe(load<u32>(at, 104), load<u32>(at, 108));
  const decision = rule.decide(new Params(state), facts(load<u32>(at, 112), load<u32>(at, 116)), context(at));
  const out = allocate(56);
  store<u8>(out, 0);
  store<u8>(out, decision.outcome, 8);
  let record = storeList(out + 12, decision.reasons.length, 24);
  for (let i = 0; i < decision.reasons.length; i++, record += 24) storeReason(record, decision.reasons[i]);
  record = storeList(out + 20, decision.goals.length, 24);
  for (let i = 0; i < decision.goals.length; i++, record += 24) {
    storeText(record, decision.goals[i].key);
    store<i64>(record, decision.goals[i].current, 8);
    store<i64>(record, decision.goals[i].target, 16);
  }
  store<bool>(out, decision.awards.length > 0, 28);
  record = storeList(out + 32, decision.awards.length, 12);
  for (let i = 0; i < decision.awards.length; i++, record += 12) {
    storeText(record, decision.awards[i].rewardId);
    store<u32>(record, decision.awards[i].quantity, 8);
  }
  store<bool>(out, decision.hasRetry, 40);
  store<i64>(out, decision.retry, 48);
  return out;
}
