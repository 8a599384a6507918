import { condition, Decision, distinctDays, startOfDay, sum } from "./meed";
import { NAME, VERSION } from "./plugin";

/** How regular a shopper has to be. */
interface Regular { days: number; spent: number }

export const { describe, bind, evaluate } = condition({
  name: NAME,
  version: VERSION,
  title: "Regular shopper",
  description: "The user shopped on a number of the last 30 days, for a total amount.",
  labels: { days: "Days with a purchase", spent: "Spent" },
  translations: {
    de: {
      title: "Stammkunde",
      description: "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.",
      labels: { days: "Tage mit Einkauf", spent: "Ausgegeben" },
    },
  },

  params: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    description: "How regular a shopper has to be.",
    type: "object",
    properties: {
      days: {
        type: "integer", minimum: 1, maximum: 30,
        description: "Days with a purchase, of the last 30.",
        examples: [4],
      },
      spent: {
        type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER,
        description: "What was paid in these 30 days, in cents.",
        default: 0,
      },
    },
    required: ["days"],
    additionalProperties: false,
  },

  check({ days, spent }: Regular) {
    if (spent > 0 && spent < days) {
      return [{ path: "/spent", message: "Ask for at least one cent a day, or leave `spent` out." }];
    }
    return [];
  },

  plan: () => ({
    days: distinctDays("shop.purchase").lastDays(30),
    spent: sum("shop.purchase").lastDays(30),
  }),

  decide(params, { days, spent }, context) {
    const decision = Decision.eligible()
      .progress("days", days, params.days)
      .progress("spent", spent, params.spent);
    if (days < params.days) {
      const missing = params.days - days;
      decision
        .refuse("too-few-days", `Days of shopping to go: ${missing}.`)
        .arg("missing", missing)
        // The user can reach the goal by then, with a purchase on every day from now on.
        .retryAt(startOfDay(context, missing));
    }
    if (spent < params.spent) {
      decision.refuse("spent-too-little", "Spend a little more.");
    }
    return decision;
  },
});
