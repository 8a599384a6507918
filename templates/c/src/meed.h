// Meed's contract in C: what a rule may ask, what it is told, and how it answers.
//
// Everything here is pure; a rule has no clock, no randomness and no network. The structs lie in memory as the contract's
// canonical ABI wants them, so nothing is copied on the way in or out. Nothing needs to be freed: an instance serves one
// call.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- what a rule is told ----

typedef struct { const char *start; uint32_t length; } meed_text; // UTF-8, without a NUL at its end
typedef int64_t meed_instant;                                     // milliseconds since the Unix epoch, UTC

typedef struct { int32_t year; uint8_t month, day; } meed_date;
typedef struct { bool is_some; meed_date value; } meed_maybe_date;
typedef struct { bool is_some; int64_t value; } meed_maybe_int;

// The wall clock in the event's zone; weekday 1 = Monday to 7 = Sunday.
typedef struct {
  meed_date date;
  uint8_t weekday, hour, minute, second;
  int16_t utc_offset_minutes;
} meed_local_time;

typedef struct {
  meed_text id, kind;
  meed_maybe_int value;
  uint32_t max_quantity; // the most that this claim may be awarded; 0 = sold out
} meed_reward;

typedef struct {
  meed_instant now; // the one clock read of this decision
  meed_local_time local;
  meed_text time_zone;                                               // an IANA name
  struct { meed_text id, title; meed_instant starts, ends; } event;  // until just before `ends`
  struct { meed_text id; meed_instant registered; } user;
  struct { const meed_reward *start; uint32_t length; } rewards;
  struct { const uint8_t *start; uint32_t length; } seed;            // 32 bytes, the only source of chance
} meed_context;

// A fair number from 0 to below - 1, the same for the same seed.
uint32_t meed_draw(const meed_context *context, uint32_t below);

typedef struct { uint32_t current, longest; meed_maybe_date last_day; } meed_streak;

typedef enum { MEED_ABSENT, MEED_INTEGER, MEED_AT, MEED_TEXT, MEED_DAYS } meed_fact_kind;

// Answers a query. Which member counts depends on the query.
typedef struct {
  uint8_t kind; // a meed_fact_kind
  union {
    int64_t integer;  // of count, sum, distinct_days, grants
    meed_instant at;  // of first, last; may be MEED_ABSENT
    meed_text text;   // of attribute; may be MEED_ABSENT
    meed_streak days; // of streak
  };
} meed_fact;

// ---- params: JSON that was already checked against the schema ----

typedef struct { const char *start; uint32_t length; } meed_json;

bool meed_has(meed_json object, const char *name);
int64_t meed_int(meed_json object, const char *name, int64_t absent);
bool meed_bool(meed_json object, const char *name, bool absent);
const char *meed_string(meed_json object, const char *name, const char *absent);
meed_json meed_member(meed_json object, const char *name); // empty when it is not there
bool meed_next_item(meed_json array, meed_json *item);     // begins with an empty item; false at the end

// ---- what a rule asks ----

typedef struct { meed_text attribute, equals; } meed_filter;

// About activities it means the claimant's own since the event began, unless told more.
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

// ---- what a rule answers ----

typedef struct meed_plan meed_plan;
typedef struct meed_issues meed_issues;
typedef struct meed_decision meed_decision;

void meed_ask(meed_plan *plan, meed_query query);

// A fault in the params: a JSON Pointer and a sentence for the operator.
void meed_issue(meed_issues *issues, const char *path, const char *message);

// A decision is eligible until it is refused. The code is for programs and never changes, the message is for people.
void meed_refuse(meed_decision *decision, const char *code, const char *message);
void meed_reason(meed_decision *decision, const char *code, const char *message);
void meed_progress(meed_decision *decision, const char *key, int64_t current, int64_t target); // kept within 0 and target
void meed_award(meed_decision *decision, meed_text reward_id, uint32_t quantity);
void meed_retry_at(meed_decision *decision, meed_instant instant);

// Texts: meed_join("You need ", meed_number(3), " more.")
#define meed_join(...) meed_join_all((const char *[]){__VA_ARGS__, NULL})
const char *meed_join_all(const char *const *parts);
const char *meed_number(int64_t number);

// A note for you, the author; it cannot sway a decision.
void meed_note(const char *message);

// ---- a rule: what you write ----

extern const char *const meed_title, *const meed_description;
extern const char meed_schema[]; // JSON Schema of the params
void meed_check_params(meed_json params, meed_issues *issues); // what the schema cannot say
void meed_make_plan(meed_json params, meed_plan *plan);        // depends on nothing but the params
void meed_decide(meed_json params, const meed_fact *facts, const meed_context *context, meed_decision *decision);
