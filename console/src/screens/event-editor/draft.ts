// What is typed in the editor, and the body that it makes. What is no valid value is sent as it was typed, so that the server can
// say at which field it is wrong, and nothing is lost on the way.
import type { Schemas } from "../../api/client";
import type { Translate } from "../../messages";
import type { FieldError } from "../../ui/form";
import { type Json, numberOf } from "../../ui/schema-form/schema";
import { instantOf, wallOf } from "../../ui/zones";

export type Draft = {
  title: string;
  name: string;
  description: string;
  tags: string;
  plugin: string;
  version: string;
  params: Json;
  rewardIds: string[];
  maxQuantity: string;
  period: Schemas["Period"];
  count: string;
  budgetPeriod: Schemas["Period"] | "";
  budgetGrants: string;
  budgetAmount: string;
  group: string;
  timeZone: string;
  /** Wall clocks of the zone. */
  start: string;
  end: string;
  respondAsync: boolean;
  isActive: boolean;
  /** The dates from which `start` and `end` were made: a wall clock alone does not have the milliseconds and the season. */
  dates: { startDate: string; endDate: string } | undefined;
};

export const EMPTY: Draft = {
  title: "", name: "", description: "", tags: "",
  plugin: "", version: "", params: {},
  rewardIds: [], maxQuantity: "1",
  period: "ONCE", count: "1", budgetPeriod: "", budgetGrants: "", budgetAmount: "", group: "",
  timeZone: "UTC", start: "", end: "", respondAsync: false, isActive: false, dates: undefined,
};

type Content = Schemas["NewEvent"];

export function draftOf(event: Content): Draft {
  const { title, name, description, tags, condition, rewardIds, maxQuantity, recurrence, budget, group, timeZone = "UTC", startDate, endDate } = event;
  const shown = (number: number | null | undefined) => (number === null || number === undefined ? "" : String(number));
  return {
    title, rewardIds, timeZone,
    name: name ?? "", description: description ?? "", tags: (tags ?? []).join(", "),
    plugin: condition.plugin, version: condition.version, params: (condition.params ?? {}) as Json,
    maxQuantity: shown(maxQuantity ?? 1), period: recurrence?.period ?? "ONCE", count: shown(recurrence?.count ?? 1),
    budgetPeriod: budget?.period ?? "", budgetGrants: shown(budget?.grants), budgetAmount: shown(budget?.amount),
    group: group ?? "",
    start: wallOf(startDate, timeZone), end: wallOf(endDate, timeZone),
    respondAsync: event.respondAsync ?? false, isActive: event.isActive ?? true, dates: { startDate, endDate },
  };
}

/** The content of a stored event, as a change sends it. */
export function contentOf(event: Schemas["Event"]): Content {
  const { title, name, description, startDate, endDate, timeZone, rewardIds, maxQuantity, recurrence, budget, group, respondAsync, tags, isActive } = event;
  const { plugin, version, params } = event.condition;
  return { title, name, description, startDate, endDate, timeZone, rewardIds, maxQuantity, recurrence, budget: budget ?? null, group: group ?? null, respondAsync, tags, isActive, condition: { plugin, version, params } };
}

export function bodyOf(draft: Draft): Content {
  const { title, description, timeZone, rewardIds, period, isActive, respondAsync, plugin, version, budgetPeriod } = draft;
  const number = (typed: string, empty: number | null) => (typed.trim() === "" ? empty : numberOf(typed)) as number;
  return {
    title, description, timeZone, rewardIds, respondAsync, isActive,
    name: draft.name.trim() === "" ? null : draft.name.trim(),
    tags: draft.tags.split(",").map((tag) => tag.trim()).filter((tag) => tag !== ""),
    condition: { plugin, version, params: draft.params as { [name: string]: unknown } },
    maxQuantity: number(draft.maxQuantity, 1),
    recurrence: { period, count: number(draft.count, 1) },
    budget: budgetPeriod === "" ? null : { period: budgetPeriod, grants: number(draft.budgetGrants, null), amount: number(draft.budgetAmount, null) },
    group: draft.group.trim() === "" ? null : draft.group.trim(),
    startDate: dateOf(draft.start, timeZone, draft.dates?.startDate),
    endDate: dateOf(draft.end, timeZone, draft.dates?.endDate),
  };
}

export function dateOf(wall: string, zone: string, kept: string | undefined): string {
  if (kept !== undefined && wall !== "" && wallOf(kept, zone) === wall) return kept;
  // With an unknown zone the server refuses the zone.
  return instantOf(wall, zone) ?? (wall === "" ? "" : new Date(`${wall}Z`).toISOString());
}

/** What is missing, said at once and in the user's language. Everything else is for the server to say. */
export function missing(draft: Draft, t: Translate): FieldError[] {
  const errors: FieldError[] = [];
  const require = (isThere: boolean, pointer: string, message: string) => {
    if (!isThere) errors.push({ pointer, message });
  };
  require(draft.title.trim() !== "", "/title", t("editor.need-title"));
  require(draft.plugin !== "", "/condition/plugin", t("editor.need-condition"));
  require(draft.rewardIds.length > 0, "/rewardIds", t("editor.need-reward"));
  require(draft.start !== "", "/startDate", t("editor.need-start"));
  require(draft.end !== "", "/endDate", t("editor.need-end"));
  return errors;
}

/** Which errors a change of these members may have made obsolete. */
const POINTERS: Partial<Record<keyof Draft, string>> = {
  plugin: "/condition", version: "/condition", params: "/condition",
  start: "/startDate", end: "/endDate", period: "/recurrence", count: "/recurrence",
  budgetPeriod: "/budget", budgetGrants: "/budget", budgetAmount: "/budget",
};

export function isAbout(error: FieldError, member: keyof Draft): boolean {
  const pointer = POINTERS[member] ?? `/${member}`;
  return error.pointer === pointer || error.pointer.startsWith(`${pointer}/`);
}
