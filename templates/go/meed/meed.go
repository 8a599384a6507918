// Package meed is Meed's contract in Go: queries, context, facts and decisions.
//
// Everything here is pure; a rule has no clock, no randomness and no network. abi.go translates to the canonical ABI.
package meed

import "math/bits"

// ---- context and facts ----

// Instant is in milliseconds since the Unix epoch, UTC.
type Instant int64

type Date struct {
	Year       int32
	Month, Day uint8
}

// LocalTime is the wall clock in the event's zone; Weekday 1 = Monday to 7 = Sunday.
type LocalTime struct {
	Date                          Date
	Weekday, Hour, Minute, Second uint8
	UTCOffsetSeconds              int32
}

// ZoneOffset: from Starts on, local time is UTC plus UTCOffsetSeconds.
type ZoneOffset struct {
	Starts           Instant
	UTCOffsetSeconds int32
}

// Event runs from Starts until just before Ends.
type Event struct {
	ID, Title    string
	Starts, Ends Instant
}

type User struct {
	ID         string
	Registered Instant
}

// Reward of the event. Value is nil when it has none; MaxQuantity is the largest quantity to award, 0 = sold out.
type Reward struct {
	ID, Kind    string
	Value       *int64
	MaxQuantity uint32
}

type Context struct {
	Now      Instant // the only clock reading of this decision
	Local    LocalTime
	TimeZone string       // an IANA name
	Offsets  []ZoneOffset // of today, and every change within the next 400 days
	Event    Event
	User     User
	Rewards  []Reward
	Seed     []byte // 32 bytes, the only source of randomness; see Draw
}

// StartOfDay is the first instant of a day in the event's zone: 0 is today, 1 is tomorrow. It is exact across clock
// changes up to 400 days ahead.
func (context *Context) StartOfDay(daysAhead uint32) Instant {
	return context.startOf(context.Local.Date.number() + int64(daysAhead))
}

// StartOfNextWeek is the first instant of next Monday.
func (context *Context) StartOfNextWeek() Instant {
	return context.StartOfDay(8 - uint32(context.Local.Weekday))
}

// StartOfNextMonth is the first instant of next month.
func (context *Context) StartOfNextMonth() Instant {
	date := context.Local.Date
	next := Date{Year: date.Year + int32(date.Month/12), Month: date.Month%12 + 1, Day: 1}
	return context.startOf(next.number())
}

// startOf is the first instant at which the local clock shows this day's midnight or a later time.
func (context *Context) startOf(day int64) Instant {
	midnight := Instant(day * 86_400_000)
	start := midnight
	for index, offset := range context.Offsets {
		// Where the clock jumps over midnight, the day starts at the jump.
		start = max(midnight-Instant(offset.UTCOffsetSeconds)*1000, offset.Starts)
		if index+1 == len(context.Offsets) || start < context.Offsets[index+1].Starts {
			break
		}
	}
	return start
}

// number counts days from 1970-01-01. Years are counted from March, so that the leap day is a year's last.
func (date Date) number() int64 {
	year, month := int64(date.Year), int64(date.Month)-3
	if month < 0 {
		year, month = year-1, month+12
	}
	return year*365 + year/4 - year/100 + year/400 + (153*month+2)/5 + int64(date.Day) - 1 - 719_468
}

// Draw returns a fair number from 0 to below - 1, the same for the same seed.
func (context *Context) Draw(below int64) int64 {
	rest := uint64(0)
	for _, digit := range context.Seed {
		rest = bits.Rem64(rest>>56, rest<<8|uint64(digit), uint64(below))
	}
	return int64(rest)
}

// Streak of consecutive days; LastDay is nil when there was none.
type Streak struct {
	Current, Longest uint32
	LastDay          *Date
}

// Fact answers a query, which determines the valid field. Absent: there is no such instant or attribute.
type Fact struct {
	Absent  bool
	Integer int64   // Count, Sum, DistinctDays, Grants
	At      Instant // First, Last
	Text    string  // Attribute
	Days    Streak  // StreakOf
}

// ---- queries ----

type filter struct{ attribute, equals string }

// Query about activities: by default the claimant's own since the event's start.
type Query struct {
	kind    uint8
	name    string
	subject uint8
	window  uint8
	bound   int64
	filters []filter
}

// Count of activities of a kind.
func Count(kind string) Query { return Query{kind: 0, name: kind} }

// Sum of their amounts, in minor units (cents).
func Sum(kind string) Query { return Query{kind: 1, name: kind} }

// DistinctDays: the number of calendar days, in the event's zone, with at least one.
func DistinctDays(kind string) Query { return Query{kind: 2, name: kind} }

// StreakOf consecutive days with one; ask for one day more than you need, because a run may end yesterday.
func StreakOf(kind string) Query { return Query{kind: 3, name: kind} }

// First: the instant of the first one.
func First(kind string) Query { return Query{kind: 4, name: kind} }

// Last: the instant of the last one.
func Last(kind string) Query { return Query{kind: 5, name: kind} }

// Attribute of the user, as text.
func Attribute(name string) Query { return Query{kind: 6, name: name} }

// Grants: the number of earlier grants of this event to this user.
func Grants() Query { return Query{kind: 7} }

// AllTime: its cost grows with the user's history.
func (query Query) AllTime() Query { query.window = 1; return query }

// LastDays: a number of calendar days in the event's zone, today included: 1 is today.
func (query Query) LastDays(days uint32) Query {
	query.window, query.bound = 2, int64(days)
	return query
}

func (query Query) Since(instant Instant) Query {
	query.window, query.bound = 3, int64(instant)
	return query
}

// Filter selects activities with this attribute, as text; several filters must all match.
func (query Query) Filter(attribute, equals string) Query {
	query.filters = append(query.filters[:len(query.filters):len(query.filters)], filter{attribute, equals})
	return query
}

// OfInvitees: the activities of all users that the claimant invited.
func (query Query) OfInvitees() Query { query.subject = 1; return query }

// ---- decisions ----

type arg struct{ name, value string }

type reason struct {
	code, message string
	args          []arg
}

type goal struct {
	key             string
	current, target int64
}

type award struct {
	reward   string
	quantity uint32
}

const (
	eligible uint8 = iota
	notEligible
	needsReview
)

type Decision struct {
	outcome  uint8
	reasons  []reason
	progress []goal
	awards   []award
	retryAt  *Instant
}

// Eligible: the user gets one of each reward, unless Award chooses.
func Eligible() *Decision { return &Decision{} }

// Refuse makes the user not eligible yet. The code is for programs and never changes, the message is for people.
func (decision *Decision) Refuse(code, message string) *Decision {
	decision.outcome = notEligible
	return decision.Reason(code, message)
}

// Review leaves an eligible decision to a person.
func (decision *Decision) Review(code, message string) *Decision {
	if decision.outcome == eligible {
		decision.outcome = needsReview
	}
	return decision.Reason(code, message)
}

func (decision *Decision) Reason(code, message string) *Decision {
	decision.reasons = append(decision.reasons, reason{code: code, message: message})
	return decision
}

// Arg adds a named value to the last reason, for translations of its message.
func (decision *Decision) Arg(name, value string) *Decision {
	if last := len(decision.reasons) - 1; last >= 0 {
		decision.reasons[last].args = append(decision.reasons[last].args, arg{name, value})
	}
	return decision
}

// Progress is the user's progress towards a target; kept within 0 and the target.
func (decision *Decision) Progress(key string, current, target int64) *Decision {
	decision.progress = append(decision.progress, goal{key, max(0, min(current, target)), target})
	return decision
}

func (decision *Decision) Award(reward string, quantity uint32) *Decision {
	decision.awards = append(decision.awards, award{reward, quantity})
	return decision
}

func (decision *Decision) RetryAt(instant Instant) *Decision {
	decision.retryAt = &instant
	return decision
}

// ---- a rule ----

// Issue is a fault in the params: a JSON Pointer and a message for the operator.
type Issue struct{ Path, Message string }

// Label is the name of a progress key for users.
type Label struct{ Key, Text string }

// Translation has the rule's texts in one language, a BCP 47 tag. A label that is left out keeps the default.
type Translation struct {
	Language, Title, Description string
	Labels                       []Label
}

// Rule whose functions depend on their arguments alone.
type Rule struct {
	Name, Version, Title, Description string
	Labels                            []Label
	Translations                      []Translation
	// Schema is the JSON Schema of the params. The server checks params against it before the rule runs.
	Schema string
	// Check finds faults that the schema cannot express; it may be nil.
	Check func(Params) []Issue
	Plan  func(Params) []Query
	// Decide gets the facts in the order of the plan.
	Decide func(Params, []Fact, *Context) *Decision
}

var plugin Rule

// Export makes this module the plugin of a rule. Call it in init: main never runs.
func Export(rule Rule) { plugin = rule }
