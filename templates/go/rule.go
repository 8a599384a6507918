// The user shopped on a number of the last 30 days, for a total amount.
package main

import (
	_ "embed"
	"strconv"

	"regular-shopper/meed"
)

//go:embed params.schema.json
var schema string

// regular has the params: how regular a shopper has to be.
type regular struct{ days, spent int64 }

func read(params meed.Params) regular {
	return regular{days: params.Int("days", 1), spent: params.Int("spent", 0)}
}

func check(params meed.Params) []meed.Issue {
	if wanted := read(params); 0 < wanted.spent && wanted.spent < wanted.days {
		return []meed.Issue{{Path: "/spent", Message: "Ask for at least one cent a day, or leave `spent` out."}}
	}
	return nil
}

func plan(meed.Params) []meed.Query {
	return []meed.Query{
		meed.DistinctDays("shop.purchase").LastDays(30),
		meed.Sum("shop.purchase").LastDays(30),
	}
}

func decide(params meed.Params, facts []meed.Fact, context *meed.Context) *meed.Decision {
	wanted := read(params)
	days, spent := facts[0].Integer, facts[1].Integer
	decision := meed.Eligible().
		Progress("days", days, wanted.days).
		Progress("spent", spent, wanted.spent)
	if days < wanted.days {
		missing := strconv.FormatInt(wanted.days-days, 10)
		decision.Refuse("too-few-days", "Days of shopping to go: "+missing+".").Arg("missing", missing)
		// The user can reach the goal by then, with a purchase on every day from now on.
		decision.RetryAt(context.StartOfDay(uint32(wanted.days - days)))
	}
	if spent < wanted.spent {
		decision.Refuse("spent-too-little", "Spend a little more.")
	}
	return decision
}

func init() {
	meed.Export(meed.Rule{
		Name:        Name,
		Version:     Version,
		Title:       "Regular shopper",
		Description: "The user shopped on a number of the last 30 days, for a total amount.",
		Labels:      []meed.Label{{Key: "days", Text: "Days with a purchase"}, {Key: "spent", Text: "Spent"}},
		Translations: []meed.Translation{{
			Language:    "de",
			Title:       "Stammkunde",
			Description: "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.",
			Labels:      []meed.Label{{Key: "days", Text: "Tage mit Einkauf"}, {Key: "spent", Text: "Ausgegeben"}},
		}},
		Schema:      schema,
		Check:       check,
		Plan:        plan,
		Decide:      decide,
	})
}

func main() {}
