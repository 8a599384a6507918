// The members of a report (`meed-report/1`), as far as the console shows them. docs/backtests.md describes all of them.
import { type Schemas, api, ok } from "../../api/client";

export type Tally = { granted: number; refused: number; failed: number; held: number; value: number };
export type Count = { reason: string; count: number };
export type Answer = { at: string; status: string; reasons: { source: Schemas["Source"]; code: string; message: string }[] };
export type Example = { userId: string; asOf: string; period: string; claimed: boolean; before: Answer; after: Answer };
export type Flip = { users: number; grants: number; value: number; reasons: Count[]; examples: Example[] };
export type FlipName = "gained" | "lost" | "changed" | "moved";
export const FLIPS: FlipName[] = ["gained", "lost", "changed", "moved"];
export type Side = {
  claims: Tally;
  silentUsers: Tally;
  grants: number;
  value: number;
  users: number;
  exhausted: { at: string; rewardId?: string; budgetPeriod?: string }[];
  reasons: Count[];
  firstEligible: { day: string; users: number; cumulative: number }[];
  concentration: {
    topUsers: number;
    topGrantsPermille: number;
    topValuePermille: number;
    mostGrantsOfAUser: number;
    newAccountGrants: number;
    invitedUsers: number;
    invitedGrants: number;
  };
  fuel: { p50: number; p99: number; max: number; limit: number; maxPermille: number };
  failures: Record<string, number>;
  questions: { asked: number; equal: number; evaluated: number };
};
export type Condition = { plugin: string; version: string; digest: string; params: unknown; asked: string };
export type ForecastStep = { from: string; grants: number; silentGrants: number; cumulativeGrants: number; cumulativeSilentGrants: number; baselineGrants: number; baselineSilentGrants: number };
export type Report = {
  header: {
    event: { id: string; revision: number; title: string; timeZone: string };
    baseline: Condition;
    candidate: Condition;
    from: string;
    to: string;
    population: Schemas["BacktestPopulation"];
    sample: number | null;
    limitsScaled: boolean;
    engine: string;
    timeZones: string;
  };
  coverage: { seen: number; claimants: number; silent: number; skipped: Record<string, number>; stopped: number; claims: number; activities: number; lastRecorded: string | null };
  baseline: Side;
  candidate: Side;
  flips: Record<FlipName, Flip>;
  forecast: { stepSeconds: number; steps: ForecastStep[] };
  reproduction: { same: number; different: number; notComparable: number; kinds: Count[]; examples: Example[] };
  rounds: { rounds: number; settled: boolean; unsettledGrants: [number, number] };
  cannotTell: string[];
};

export function readReport(id: string): Promise<Schemas["BacktestReport"]> {
  return ok(api.GET("/backtests/{id}/report", { params: { path: { id } } })) as Promise<Schemas["BacktestReport"]>;
}
