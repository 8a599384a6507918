// Meed's contract in C: queries, context, facts and decisions.
//
// Everything here is pure; a rule has no clock, no randomness and no network. The structs have the memory layout of the
// contract's canonical ABI, so input and output are not copied. Nothing needs to be freed: an instance serves one call.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- context and facts ----

typedef struct { const char *start; uint32_t length; } meed_text; // UTF-8, without a NUL at its end
typedef int64_t meed_instant;                                     // milliseconds since the Unix epoch, UTC

typedef struct { int32_t year; uint8_t month, day; } meed_date;
typedef struct { bool is_some; meed_date value; } meed_maybe_date;
typedef struct { bool is_some; int64_t value; } meed_maybe_int;

// The wall clock in the event's zone; weekday 1 = Monday to 7 = Sunday.
typedef struct {
  meed_date date;
  uint8_t weekday, hour, minute, second;
  int32_t utc_offset_seconds;
} meed_local_time;

// From `starts` on, local time is UTC plus `utc_offset_seconds`.
typedef struct { meed_instant starts; int32_t utc_offset_seconds; } meed_zone_offset;

typedef struct {
  meed_text id, kind;
  meed_maybe_int value;
  uint32_t max_quantity; // the largest quantity that this claim may award; 0 = sold out
} meed_reward;

typedef struct {
  meed_instant now; // the only clock reading of this decision
  meed_local_time local;
  meed_text time_zone;                                               // an IANA name
  struct { const meed_zone_offset *start; uint32_t length; } offsets; // of today, and every change within 400 days
  struct { meed_text id, title; meed_instant starts, ends; } event;  // until just before `ends`
  struct { meed_text id; meed_instant registered; } user;
  struct { const meed_reward *start; uint32_t length; } rewards;
  struct { const uint8_t *start; uint32_t length; } seed;            // 32 bytes, the only source of randomness
} meed_context;

// The first instant of a day in the event's zone: 0 is today, 1 is tomorrow. Exact across clock changes up to 400 days
// ahead.
meed_instant meed_start_of_day(const meed_context *context, uint32_t days_ahead);
meed_instant meed_start_of_next_week(const meed_context *context); // next Monday
meed_instant meed_start_of_next_month(const meed_context *context);

// A fair number from 0 to below - 1, the same for the same seed.
uint32_t meed_draw(const meed_context *context, uint32_t below);

typedef struct { uint32_t current, longest; meed_maybe_date last_day; } meed_streak;

typedef enum { MEED_ABSENT, MEED_INTEGER, MEED_AT, MEED_TEXT, MEED_DAYS } meed_fact_kind;

// Answers a query, which determines the valid member.
typedef struct {
  uint8_t kind; // a meed_fact_kind
  union {
    int64_t integer;  // of count, sum, distinct_days, grants
    meed_instant at;  // of first, last; may be MEED_ABSENT
    meed_text text;   // of attribute; may be MEED_ABSENT
    meed_streak days; // of streak
  };
} meed_fact;

// ---- params: JSON that the server has checked against the schema ----

typedef struct { const char *start; uint32_t length; } meed_json;

bool meed_has(meed_json object, const char *name);
int64_t meed_int(meed_json object, const char *name, int64_t absent);
bool meed_bool(meed_json object, const char *name, bool absent);
const char *meed_string(meed_json object, const char *name, const char *absent);
meed_json meed_member(meed_json object, const char *name); // empty if it is missing
bool meed_next_item(meed_json array, meed_json *item);     // begins with an empty item; false at the end

// ---- queries ----

typedef struct { meed_text attribute, equals; } meed_filter;

// About activities: by default the claimant's own since the event's start.
typedef struct {
  uint8_t kind;
  struct {
    _Alignas(8) meed_text name;
    uint8_t subject;
    struct { _Alignas(8) uint8_t kind; int64_t bound; } window;
    struct { meed_filter *start; uint32_t length; } filters;
  } of;
} meed_query;

meed_query meed_count(const char *kind);
meed_query meed_sum(const char *kind); // of their amounts, in minor units (cents)
meed_query meed_distinct_days(const char *kind);
meed_query meed_streak_of(const char *kind); // ask for one day more than you need: a run may end yesterday
meed_query meed_first(const char *kind);
meed_query meed_last(const char *kind);
meed_query meed_attribute(const char *name);
meed_query meed_grants(void);

meed_query meed_last_days(meed_query query, uint32_t days); // calendar days in the event's zone, 1 is today
meed_query meed_since(meed_query query, meed_instant instant);
meed_query meed_all_time(meed_query query); // its cost grows with the user's history
meed_query meed_where(meed_query query, const char *attribute, const char *equals);
meed_query meed_of_invitees(meed_query query);

// ---- texts, plan and decision ----

typedef struct meed_texts meed_texts;
typedef struct meed_plan meed_plan;
typedef struct meed_issues meed_issues;
typedef struct meed_decision meed_decision;

// The name of a progress key for users, in the language that was added last; at first in the default language.
void meed_label(meed_texts *texts, const char *key, const char *text);
// Adds a translation by its BCP 47 tag.
void meed_language(meed_texts *texts, const char *language, const char *title, const char *description);

void meed_ask(meed_plan *plan, meed_query query);

// A fault in the params: a JSON Pointer and a message for the operator.
void meed_issue(meed_issues *issues, const char *path, const char *message);

// A decision is eligible until it is refused. The code is for programs and never changes, the message is for people.
void meed_refuse(meed_decision *decision, const char *code, const char *message);
void meed_review(meed_decision *decision, const char *code, const char *message); // leaves an eligible claim to a person
void meed_reason(meed_decision *decision, const char *code, const char *message);
void meed_arg(meed_decision *decision, const char *name, const char *value); // of the last reason, for translations
void meed_progress(meed_decision *decision, const char *key, int64_t current, int64_t target); // kept within 0 and target
void meed_award(meed_decision *decision, meed_text reward_id, uint32_t quantity);
void meed_retry_at(meed_decision *decision, meed_instant instant);

// Texts: meed_join("You need ", meed_number(3), " more.")
#define meed_join(...) meed_join_all((const char *[]){__VA_ARGS__, NULL})
const char *meed_join_all(const char *const *parts);
const char *meed_number(int64_t number);

// Writes a note for the author. It cannot affect a decision.
void meed_note(const char *message);

// ---- a rule: the definitions that you write ----

extern const char *const meed_title, *const meed_description;
extern const char meed_schema[]; // JSON Schema of the params
void meed_describe(meed_texts *texts);                         // labels and translations
void meed_check_params(meed_json params, meed_issues *issues); // faults that the schema cannot express
void meed_make_plan(meed_json params, meed_plan *plan);        // depends on the params alone
void meed_decide(meed_json params, const meed_fact *facts, const meed_context *context, meed_decision *decision);
