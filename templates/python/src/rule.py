from meed import Condition, Decision, Issue, distinct_days, start_of_day, sum_of
from plugin import NAME, VERSION


class RegularShopper(Condition):
    name = NAME
    version = VERSION
    title = "Regular shopper"
    description = "The user shopped on a number of the last 30 days, for a total amount."
    labels = {"days": "Days with a purchase", "spent": "Spent"}
    translations = {
        "de": {
            "title": "Stammkunde",
            "description": "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.",
            "labels": {"days": "Tage mit Einkauf", "spent": "Ausgegeben"},
        },
    }

    params = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "How regular a shopper has to be.",
        "type": "object",
        "properties": {
            "days": {
                "type": "integer",
                "minimum": 1,
                "maximum": 30,
                "description": "Days with a purchase, of the last 30.",
                "examples": [4],
            },
            "spent": {
                "type": "integer",
                "minimum": 0,
                "maximum": 2**53 - 1,
                "description": "What was paid in these 30 days, in cents.",
                "default": 0,
            },
        },
        "required": ["days"],
        "additionalProperties": False,
    }

    def check(self, params):
        if 0 < params.spent < params.days:
            return [Issue("/spent", "Ask for at least one cent a day, or leave `spent` out.")]
        return []

    def plan(self, params):
        return {
            "days": distinct_days("shop.purchase").last_days(30),
            "spent": sum_of("shop.purchase").last_days(30),
        }

    def decide(self, params, facts, context):
        decision = (
            Decision()
            .progress("days", facts.days, params.days)
            .progress("spent", facts.spent, params.spent)
        )
        if facts.days < params.days:
            missing = params.days - facts.days
            decision.refuse("too-few-days", f"Days of shopping to go: {missing}.").arg("missing", missing)
            # The user can reach the goal by then, with a purchase on every day from now on.
            decision.retry_at(start_of_day(context, missing))
        if facts.spent < params.spent:
            decision.refuse("spent-too-little", "Spend a little more.")
        return decision


WitWorld = RegularShopper  # the name that the build looks for
