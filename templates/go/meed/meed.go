// Package meed is Meed's contract in Go: what a rule may ask, what it is told, and how it answers.
//
// Everything here is pure; a rule has no clock, no randomness and no network. abi.go carries it over the boundary.
package meed

import "math/bits"

// ---- what a rule is told ----

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
	UTCOffsetMinutes              int16
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

// Reward of the event. Value is nil when it has none; MaxQuantity is the most this claim may be awarded, 0 = sold out.
type Reward struct {
	ID, Kind    string
	Value       *int64
	MaxQuantity uint32
}

type Context struct {
	Now      Instant // the one clock read of this decision
	Local    LocalTime
	TimeZone string // an IANA name
	Event    Event
	User     User
	Rewards  []Reward
	Seed     []byte // 32 bytes, the only source of chance; see Draw
}

// Draw is a fair number from 0 to below - 1, the same for the same seed.
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

// Fact answers a query. Which field counts depends on the query; Absent means there is no such instant or attribute.
type Fact struct {
	Absent  bool
	Integer int64   // Count, Sum, DistinctDays, Grants
	At      Instant // First, Last
	Text    string  // Attribute
	Days    Streak  // StreakOf
}

// ---- what a rule asks ----

type filter struct{ attribute, equals string }

// Query about activities means the claimant's own since the event began, unless told more.
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

// DistinctDays is the number of calendar days, in the event's zone, with at least one.
func DistinctDays(kind string) Query { return Query{kind: 2, name: kind} }

// StreakOf consecutive days with one; ask for one day more than you need, because a run may end yesterday.
func StreakOf(kind string) Query { return Query{kind: 3, name: kind} }

// First is when the first one happened.
func First(kind string) Query { return Query{kind: 4, name: kind} }

// Last is when the last one happened.
func Last(kind string) Query { return Query{kind: 5, name: kind} }

// Attribute of the user, as text.
func Attribute(name string) Query { return Query{kind: 6, name: name} }

// Grants is how often this user was granted this event before.
func Grants() Query { return Query{kind: 7} }

// AllTime: mind the cost, it grows with the user's history.
func (query Query) AllTime() Query { query.window = 1; return query }

// LastDays is so many calendar days in the event's zone, today included: 1 is today.
func (query Query) LastDays(days uint32) Query {
	query.window, query.bound = 2, int64(days)
	return query
}

func (query Query) Since(instant Instant) Query {
	query.window, query.bound = 3, int64(instant)
	return query
}

// Filter takes only activities with this attribute, as text; several filters must all hold.
func (query Query) Filter(attribute, equals string) Query {
	query.filters = append(query.filters[:len(query.filters):len(query.filters)], filter{attribute, equals})
	return query
}

// OfInvitees: the activities of all users whom the claimant invited.
func (query Query) OfInvitees() Query { query.subject = 1; return query }

// ---- what a rule answers ----

type reason struct{ code, message string }

type goal struct {
	key             string
	current, target int64
}

type award struct {
	reward   string
	quantity uint32
}

type Decision struct {
	eligible bool
	reasons  []reason
	progress []goal
	awards   []award
	retryAt  *Instant
}

// Eligible: the user has earned one of each reward, unless Award chooses.
func Eligible() *Decision { return &Decision{eligible: true} }

// Refuse makes it "not yet", for one more reason. The code is for programs and never changes, the message is for people.
func (decision *Decision) Refuse(code, message string) *Decision {
	decision.eligible = false
	return decision.Reason(code, message)
}

func (decision *Decision) Reason(code, message string) *Decision {
	decision.reasons = append(decision.reasons, reason{code, message})
	return decision
}

// Progress says how far the user is; kept within 0 and the target.
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

// Issue is a fault in the params: a JSON Pointer and a sentence for the operator.
type Issue struct{ Path, Message string }

// Rule whose functions depend on their arguments alone.
type Rule struct {
	Name, Version, Title, Description string
	// Schema is the JSON Schema of the params. The server checks it before the rule is asked.
	Schema string
	// Check finds what the schema cannot say; it may be nil.
	Check func(Params) []Issue
	Plan  func(Params) []Query
	// Decide is told the facts in the order of the plan.
	Decide func(Params, []Fact, *Context) *Decision
}

var plugin Rule

// Export makes this module the plugin of a rule. Call it in init: main never runs.
func Export(rule Rule) { plugin = rule }
