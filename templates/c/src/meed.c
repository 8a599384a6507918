// Implements meed.h: memory, JSON, lists, and the three functions that the server calls.

#include "meed.h"
#include "plugin.h"
#include <string.h>

// ---- memory: a bump allocator; the instance ends after the call ----

extern unsigned char __heap_base;
static uintptr_t next_free;

void *malloc(size_t size) {
  if (next_free == 0) next_free = (uintptr_t)&__heap_base;
  uintptr_t start = (next_free + 7) & ~(uintptr_t)7; // 8 is the largest alignment there is
  uintptr_t end = start + size;
  size_t there = __builtin_wasm_memory_size(0) << 16;
  if (end > there && __builtin_wasm_memory_grow(0, (end - there + 0xffff) >> 16) == SIZE_MAX) __builtin_trap();
  next_free = end;
  return (void *)start;
}

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)align;
  void *block = malloc(size);
  return memcpy(block, old, old_size < size ? old_size : size);
}

// ---- texts ----

static meed_text text(const char *text) { return (meed_text){text, (uint32_t)strlen(text)}; }

const char *meed_join_all(const char *const *parts) {
  size_t length = 0;
  for (const char *const *part = parts; *part; part++) length += strlen(*part);
  char *joined = malloc(length + 1), *end = joined;
  for (const char *const *part = parts; *part; part++) {
    size_t size = strlen(*part);
    end = (char *)memcpy(end, *part, size) + size;
  }
  *end = 0;
  return joined;
}

const char *meed_number(int64_t number) {
  char *digit = (char *)malloc(21) + 20;
  uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
  *digit = 0;
  do *--digit = (char)('0' + rest % 10); while (rest /= 10);
  if (number < 0) *--digit = '-';
  return digit;
}

uint32_t meed_draw(const meed_context *context, uint32_t below) {
  uint64_t rest = 0;
  for (uint32_t i = 0; i < context->seed.length; i++) rest = (rest << 8 | context->seed.start[i]) % below;
  return (uint32_t)rest;
}

// ---- days ----

// Counts days from 1970-01-01. Years are counted from March, so that the leap day is a year's last.
static int64_t day_number(int64_t year, int64_t month, int64_t day) {
  month -= 3;
  if (month < 0) year--, month += 12;
  return year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719468;
}

// The first instant at which the local clock shows this day's midnight or a later time.
static meed_instant start_of(const meed_context *context, int64_t day) {
  meed_instant midnight = day * 86400000, start = midnight;
  for (uint32_t i = 0; i < context->offsets.length; i++) {
    const meed_zone_offset *offset = &context->offsets.start[i];
    start = midnight - (int64_t)offset->utc_offset_seconds * 1000;
    if (start < offset->starts) start = offset->starts; // the clock jumps over midnight: the day starts at the jump
    if (i + 1 == context->offsets.length || start < offset[1].starts) break;
  }
  return start;
}

meed_instant meed_start_of_day(const meed_context *context, uint32_t days_ahead) {
  meed_date today = context->local.date;
  return start_of(context, day_number(today.year, today.month, today.day) + days_ahead);
}

meed_instant meed_start_of_next_week(const meed_context *context) {
  return meed_start_of_day(context, 8 - context->local.weekday);
}

meed_instant meed_start_of_next_month(const meed_context *context) {
  meed_date today = context->local.date;
  return start_of(context, day_number(today.year + today.month / 12, today.month % 12 + 1, 1));
}

// ---- JSON: looked up in its text, not parsed into a tree ----

// Continues to the next part: a name or value of an object, or a value of an array. Begins with an empty part.
static bool next_part(meed_json whole, meed_json *part) {
  const char *end = whole.start + whole.length, *at = part->start ? part->start + part->length : whole.start + 1;
  while (at < end && strchr(" \t\r\n,:", *at)) at++;
  part->start = at;
  for (int depth = 0; at < end; at++) {
    if (*at == '"') {
      for (at++; at < end && *at != '"'; at++) at += *at == '\\';
    } else if (*at == '{' || *at == '[') {
      depth++;
    } else if (depth == 0 && strchr(" \t\r\n,:}]", *at)) {
      break;
    } else if (*at == '}' || *at == ']') {
      depth--;
    }
  }
  part->length = (uint32_t)(at - part->start);
  return part->length > 0;
}

static unsigned hex4(const char *digits) {
  unsigned value = 0;
  for (int i = 0; i < 4; i++) {
    unsigned digit = (unsigned char)digits[i];
    value = value << 4 | (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
  }
  return value;
}

static const char *unquote(meed_json quoted) {
  char *plain = malloc(quoted.length), *to = plain;
  for (const char *at = quoted.start + 1, *end = quoted.start + quoted.length - 1; at < end; at++) {
    if (*at != '\\') {
      *to++ = *at;
      continue;
    }
    const char *known = strchr("b\bf\fn\nr\rt\t", *++at);
    if (*at != 'u') {
      *to++ = known ? known[1] : *at;
      continue;
    }
    unsigned letter = hex4(at + 1);
    at += 4;
    if (letter >> 10 == 0xD800 >> 10 && at[1] == '\\') {
      letter = 0x10000 + ((letter & 0x3FF) << 10 | (hex4(at + 3) & 0x3FF));
      at += 6;
    }
    int more = letter < 0x80 ? 0 : letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
    *to++ = (char)(more == 0 ? letter : (0xFF00u >> (more + 1) & 0xFF) | letter >> 6 * more);
    while (more--) *to++ = (char)(0x80 | (letter >> 6 * more & 0x3F));
  }
  *to = 0;
  return plain;
}

meed_json meed_member(meed_json object, const char *name) {
  meed_json part = {0};
  while (object.length > 0 && next_part(object, &part)) {
    bool found = strcmp(unquote(part), name) == 0;
    if (!next_part(object, &part) || found) return part;
  }
  return (meed_json){0};
}

bool meed_next_item(meed_json array, meed_json *item) { return array.length > 0 && next_part(array, item); }

bool meed_has(meed_json object, const char *name) { return meed_member(object, name).length > 0; }

int64_t meed_int(meed_json object, const char *name, int64_t absent) {
  meed_json value = meed_member(object, name);
  if (value.length == 0) return absent;
  bool negative = *value.start == '-';
  uint64_t number = 0;
  for (uint32_t i = negative; i < value.length && value.start[i] >= '0' && value.start[i] <= '9'; i++)
    number = number * 10 + (uint64_t)(value.start[i] - '0');
  return (int64_t)(negative ? -number : number);
}

bool meed_bool(meed_json object, const char *name, bool absent) {
  meed_json value = meed_member(object, name);
  return value.length == 0 ? absent : *value.start == 't';
}

const char *meed_string(meed_json object, const char *name, const char *absent) {
  meed_json value = meed_member(object, name);
  return value.length == 0 ? absent : unquote(value);
}

// ---- lists ----

#define LIST(item) struct { item *start; uint32_t length; }

// Space for one more item. Lists are short, so a growing list is copied.
#define MORE(list) \
  ((list).start = cabi_realloc((list).start, (list).length * sizeof *(list).start, 8, \
                               ((list).length + 1) * sizeof *(list).start), \
   &(list).start[(list).length++])

// ---- queries ----

static meed_query about(uint8_t kind, const char *name) { return (meed_query){.kind = kind, .of.name = text(name)}; }

meed_query meed_count(const char *kind) { return about(0, kind); }
meed_query meed_sum(const char *kind) { return about(1, kind); }
meed_query meed_distinct_days(const char *kind) { return about(2, kind); }
meed_query meed_streak_of(const char *kind) { return about(3, kind); }
meed_query meed_first(const char *kind) { return about(4, kind); }
meed_query meed_last(const char *kind) { return about(5, kind); }
meed_query meed_attribute(const char *name) { return about(6, name); }
meed_query meed_grants(void) { return about(7, ""); }

static meed_query within(meed_query query, uint8_t kind, int64_t bound) {
  query.of.window.kind = kind;
  query.of.window.bound = bound;
  return query;
}

meed_query meed_all_time(meed_query query) { return within(query, 1, 0); }
meed_query meed_last_days(meed_query query, uint32_t days) { return within(query, 2, days); }
meed_query meed_since(meed_query query, meed_instant instant) { return within(query, 3, instant); }

meed_query meed_where(meed_query query, const char *attribute, const char *equals) {
  *MORE(query.of.filters) = (meed_filter){text(attribute), text(equals)};
  return query;
}

meed_query meed_of_invitees(meed_query query) {
  query.of.subject = 1;
  return query;
}

// ---- answers ----

typedef struct { meed_text first, second; } pair; // path and message, key and text, or name and value
typedef struct { meed_text code, message; LIST(pair) args; } reason;
typedef struct { meed_text language, title, description; LIST(pair) labels; } translation;
typedef struct { meed_text key; int64_t current, target; } goal;
typedef struct { meed_text reward_id; uint32_t quantity; } award;

struct meed_texts { LIST(pair) labels; LIST(translation) translations; };
struct meed_plan { LIST(meed_query) queries; };
struct meed_issues { LIST(pair) issues; };
enum { ELIGIBLE, NOT_ELIGIBLE, NEEDS_REVIEW };
struct meed_decision {
  uint8_t outcome;
  LIST(reason) reasons;
  LIST(goal) progress;
  struct { bool chosen; LIST(award) list; } awards;
  struct { bool is_some; meed_instant value; } retry_at;
};

void meed_label(meed_texts *texts, const char *key, const char *label) {
  pair added = {text(key), text(label)};
  if (texts->translations.length == 0)
    *MORE(texts->labels) = added;
  else
    *MORE(texts->translations.start[texts->translations.length - 1].labels) = added;
}

void meed_language(meed_texts *texts, const char *language, const char *title, const char *description) {
  *MORE(texts->translations) = (translation){text(language), text(title), text(description), {0}};
}

void meed_ask(meed_plan *plan, meed_query query) { *MORE(plan->queries) = query; }

void meed_issue(meed_issues *issues, const char *path, const char *message) {
  *MORE(issues->issues) = (pair){text(path), text(message)};
}

void meed_reason(meed_decision *decision, const char *code, const char *message) {
  *MORE(decision->reasons) = (reason){text(code), text(message), {0}};
}

void meed_arg(meed_decision *decision, const char *name, const char *value) {
  if (decision->reasons.length == 0) return;
  *MORE(decision->reasons.start[decision->reasons.length - 1].args) = (pair){text(name), text(value)};
}

void meed_refuse(meed_decision *decision, const char *code, const char *message) {
  decision->outcome = NOT_ELIGIBLE;
  meed_reason(decision, code, message);
}

void meed_review(meed_decision *decision, const char *code, const char *message) {
  if (decision->outcome == ELIGIBLE) decision->outcome = NEEDS_REVIEW;
  meed_reason(decision, code, message);
}

void meed_progress(meed_decision *decision, const char *key, int64_t current, int64_t target) {
  int64_t most = current < target ? current : target;
  *MORE(decision->progress) = (goal){text(key), most > 0 ? most : 0, target};
}

void meed_award(meed_decision *decision, meed_text reward_id, uint32_t quantity) {
  decision->awards.chosen = true;
  *MORE(decision->awards.list) = (award){reward_id, quantity};
}

void meed_retry_at(meed_decision *decision, meed_instant instant) {
  decision->retry_at.is_some = true;
  decision->retry_at.value = instant;
}

__attribute__((import_module("meed:condition/log@1.0.0"), import_name("note")))
void write_note(const char *start, size_t length);

void meed_note(const char *message) { write_note(message, strlen(message)); }

// ---- the functions that the server calls ----

typedef struct { meed_text name, version, title, description; meed_texts texts; meed_text schema; } manifest;

typedef struct {
  bool refused;
  union {
    struct { meed_plan plan; meed_json state; };
    meed_issues issues;
  };
} binding;

typedef struct {
  meed_context context;
  meed_json state;
  LIST(const meed_fact) facts;
} evaluation;

typedef struct { bool failed; meed_decision decision; } result;

_Static_assert(sizeof(meed_query) == 48 && sizeof(binding) == 20 && sizeof(manifest) == 56, "the canonical ABI's layout");
_Static_assert(sizeof(meed_fact) == 32 && sizeof(meed_reward) == 40 && sizeof(evaluation) == 120, "likewise");
_Static_assert(sizeof(goal) == 24 && sizeof(reason) == 24 && sizeof(translation) == 32, "likewise");
_Static_assert(sizeof(result) == 56 && offsetof(result, decision) == 8, "likewise");

__attribute__((export_name("describe")))
manifest *meed_export_describe(void) {
  static manifest answer;
  answer = (manifest){
      text(PLUGIN_NAME), text(PLUGIN_VERSION), text(meed_title), text(meed_description), {0}, text(meed_schema),
  };
  meed_describe(&answer.texts);
  return &answer;
}

__attribute__((export_name("bind")))
binding *meed_export_bind(const char *start, size_t length) {
  static binding answer;
  meed_json params = {start, (uint32_t)length};
  meed_check_params(params, &answer.issues);
  if (answer.issues.issues.length > 0) {
    answer.refused = true;
    return &answer;
  }
  meed_make_plan(params, &answer.plan);
  answer.state = params; // the text of the params: short, and fast to parse again
  return &answer;
}

__attribute__((export_name("evaluate")))
result *meed_export_evaluate(const evaluation *given) {
  static result answer; // eligible
  meed_decide(given->state, given->facts.start, &given->context, &answer.decision);
  return &answer;
}
