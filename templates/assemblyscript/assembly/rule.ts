import { Context, Decision, Fact, Issue, Params, Query, Rule, Translation, distinctDays, sum } from "./meed";

/** The user shopped on a number of the last 30 days, for a total amount. */
class RegularShopper extends Rule {
  get title(): string { return "Regular shopper"; }
  get description(): string { return "The user shopped on a number of the last 30 days, for a total amount."; }
  get labels(): string[] { return ["days", "Days with a purchase", "spent", "Spent"]; }
  get translations(): Translation[] {
    return [
      new Translation(
        "de", "Stammkunde",
        "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.",
        ["days", "Tage mit Einkauf", "spent", "Ausgegeben"],
      ),
    ];
  }
  get schema(): string {
    return `{
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "description": "How regular a shopper has to be.",
      "type": "object",
      "properties": {
        "days": {
          "type": "integer", "minimum": 1, "maximum": 30,
          "description": "Days with a purchase, of the last 30.",
          "examples": [4]
        },
        "spent": {
          "type": "integer", "minimum": 0, "maximum": 9007199254740991,
          "description": "What was paid in these 30 days, in cents.",
          "default": 0
        }
      },
      "required": ["days"],
      "additionalProperties": false
    }`;
  }

  check(params: Params): Issue[] {
    const spent = params.int("spent", 0);
    if (spent > 0 && spent < params.int("days", 1)) {
      return [new Issue("/spent", "Ask for at least one cent a day, or leave `spent` out.")];
    }
    return [];
  }

  plan(params: Params): Query[] {
    return [
      distinctDays("shop.purchase").lastDays(30),
      sum("shop.purchase").lastDays(30),
    ];
  }

  decide(params: Params, facts: Fact[], context: Context): Decision {
    const wantedDays = params.int("days", 1), wantedSpent = params.int("spent", 0);
    const days = facts[0].integer, spent = facts[1].integer;
    const decision = new Decision()
      .progress("days", days, wantedDays)
      .progress("spent", spent, wantedSpent);
    if (days < wantedDays) {
      const missing = wantedDays - days;
      decision
        .refuse("too-few-days", `Days of shopping to go: ${missing}.`)
        .arg("missing", missing.toString())
        // The user can reach the goal by then, with a purchase on every day from now on.
        .retryAt(context.startOfDay(<u32>missing));
    }
    if (spent < wantedSpent) {
      decision.refuse("spent-too-little", "Spend a little more.");
    }
    return decision;
  }
}

export const rule: Rule = new RegularShopper();
