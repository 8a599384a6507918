// The user shopped on a number of the last 30 days, for a total amount.

#include "meed.h"

const char *const meed_title = "Regular shopper";
const char *const meed_description = "The user shopped on a number of the last 30 days, for a total amount.";

void meed_describe(meed_texts *texts) {
  meed_label(texts, "days", "Days with a purchase");
  meed_label(texts, "spent", "Spent");
  meed_language(texts, "de", "Stammkunde",
                "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.");
  meed_label(texts, "days", "Tage mit Einkauf");
  meed_label(texts, "spent", "Ausgegeben");
}

const char meed_schema[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\","
    " \"description\": \"How regular a shopper has to be.\","
    " \"type\": \"object\","
    " \"properties\": {"
    "   \"days\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 30,"
    "     \"description\": \"Days with a purchase, of the last 30.\", \"examples\": [4]},"
    "   \"spent\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 9007199254740991,"
    "     \"description\": \"What was paid in these 30 days, in cents.\", \"default\": 0}"
    " },"
    " \"required\": [\"days\"],"
    " \"additionalProperties\": false}";

typedef struct { int64_t days, spent; } regular;

static regular read(meed_json params) {
  return (regular){meed_int(params, "days", 1), meed_int(params, "spent", 0)};
}

void meed_check_params(meed_json params, meed_issues *issues) {
  regular wanted = read(params);
  if (0 < wanted.spent && wanted.spent < wanted.days)
    meed_issue(issues, "/spent", "Ask for at least one cent a day, or leave `spent` out.");
}

void meed_make_plan(meed_json params, meed_plan *plan) {
  (void)params;
  meed_ask(plan, meed_last_days(meed_distinct_days("shop.purchase"), 30));
  meed_ask(plan, meed_last_days(meed_sum("shop.purchase"), 30));
}

void meed_decide(meed_json params, const meed_fact *facts, const meed_context *context, meed_decision *decision) {
  regular wanted = read(params);
  int64_t days = facts[0].integer, spent = facts[1].integer;
  meed_progress(decision, "days", days, wanted.days);
  meed_progress(decision, "spent", spent, wanted.spent);
  if (days < wanted.days) {
    const char *missing = meed_number(wanted.days - days);
    meed_refuse(decision, "too-few-days", meed_join("Days of shopping to go: ", missing, "."));
    meed_arg(decision, "missing", missing);
    // The user can reach the goal by then, with a purchase on every day from now on.
    meed_retry_at(decision, meed_start_of_day(context, (uint32_t)(wanted.days - days)));
  }
  if (spent < wanted.spent)
    meed_refuse(decision, "spent-too-little", "Spend a little more.");
}
