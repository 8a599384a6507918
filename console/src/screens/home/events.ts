// Which running events end soon, and which budgets end before their period does at the present rate.
import { type Schemas, api, ok } from "../../api/client";

type Stored = Schemas["Event"];
export type Ending = { event: Stored; usedPercent: number; at: string };

export const WEEK_MS = 7 * 86_400_000;
/** Each budget is a request. */
const MOST_BUDGETS = 10;
/** Before this part of a period, a rate says nothing. */
const TOO_EARLY = 0.02;

/** The running events, at most a page, those that end first at the beginning. */
export async function runningEvents(now: Date): Promise<Stored[]> {
  const { items } = await ok(api.GET("/events", { params: { query: { isActive: true, at: now.toISOString(), pageSize: 100 } } }));
  return items.sort((one, other) => Date.parse(one.endDate) - Date.parse(other.endDate));
}

/** Where the current period of a budget begins and ends. */
export function periodOf(event: Stored, renewsAt: string | null | undefined): [number, number] {
  const period = event.budget?.period;
  if (period === "ONCE" || !renewsAt) return [Date.parse(event.startDate), Date.parse(event.endDate)];
  const begin = new Date(renewsAt);
  if (period === "MONTHLY") begin.setUTCMonth(begin.getUTCMonth() - 1);
  else begin.setUTCDate(begin.getUTCDate() - (period === "WEEKLY" ? 7 : 1));
  const start = Math.max(begin.getTime(), Date.parse(event.startDate));
  return [start, Math.min(Date.parse(renewsAt), Date.parse(event.endDate))];
}

/** When the budget is spent at the present rate, if that is before its period ends. */
export function endOf(event: Stored, usage: Schemas["EventBudget"], now: number): Ending | undefined {
  const { budget, periods, renewsAt } = usage;
  const [from, to] = periodOf(event, renewsAt);
  const used = periods[0];
  if (!budget || !used || (now - from) / (to - from) < TOO_EARLY) return undefined;
  const part = Math.max(budget.grants ? used.grants / budget.grants : 0, budget.amount ? used.amount / budget.amount : 0);
  if (part === 0) return undefined;
  const spent = part >= 1 ? now : from + (now - from) / part;
  return spent < to ? { event, usedPercent: Math.floor(part * 100), at: new Date(spent).toISOString() } : undefined;
}

export async function endingBudgets(events: Stored[], now: Date): Promise<Ending[]> {
  const limited = events.filter(({ budget }) => budget).slice(0, MOST_BUDGETS);
  const found = await Promise.all(
    limited.map(async (event) => endOf(event, await ok(api.GET("/events/{id}/budget", { params: { path: { id: event.id } } })), now.getTime())),
  );
  return found.filter((ending) => ending !== undefined);
}
