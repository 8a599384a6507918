package meed

// The canonical ABI of the world meed:condition/condition@1.0.0, written by hand: records as they are in memory. An address
// has 32 bits there and 64 in Go, so addresses are numbers here, and `kept` keeps their targets alive.

import "unsafe"

// kept until the instance ends, after one call: the garbage collector does not see the addresses in records.
var kept []any

type span struct{ start, length uint32 }

func address[T any](value *T) uint32 {
	kept = append(kept, value)
	return uint32(uintptr(unsafe.Pointer(value)))
}

func at[T any](address uint32) *T { return (*T)(unsafe.Pointer(uintptr(address))) }

func (span span) text() string { return string(span.bytes()) }

func (span span) bytes() []byte { return items[byte](span) }

func items[T any](span span) []T {
	if span.length == 0 {
		return nil
	}
	return unsafe.Slice(at[T](span.start), span.length)
}

func list[T any](items []T) span {
	if len(items) == 0 {
		return span{8, 0}
	}
	return span{address(&items[0]), uint32(len(items))}
}

func text(text string) span {
	if text == "" {
		return span{8, 0}
	}
	return span{address(unsafe.StringData(text)), uint32(len(text))}
}

func convert[From, To any](from []From, convert func(From) To) []To {
	to := make([]To, len(from))
	for index, item := range from {
		to[index] = convert(item)
	}
	return to
}

// ---- input ----

//go:wasmexport cabi_realloc
func reallocate(old, oldSize, align, size uint32) uint32 {
	if size == 0 {
		return align
	}
	block := make([]uint64, (size+7)/8) // 8 is the largest alignment there is
	start := address(&block[0])
	if oldSize > 0 {
		copy(items[byte](span{start, size}), items[byte](span{old, oldSize}))
	}
	return start
}

type optionDate struct {
	some bool
	date Date
}

type wireReward struct {
	id, kind    span
	hasValue    bool
	value       int64
	maxQuantity uint32
}

type wireFact struct {
	kind    uint8
	payload [3]uint64 // the kind determines the type
}

type wireStreak struct {
	current, longest uint32
	lastDay          optionDate
}

type wireEvaluation struct {
	now      Instant
	local    LocalTime
	timeZone span
	offsets  span
	event    struct {
		id, title    span
		starts, ends Instant
	}
	user struct {
		id         span
		registered Instant
	}
	rewards, seed, state, facts span
}

func (wire *wireEvaluation) context() *Context {
	return &Context{
		Now: wire.now, Local: wire.local, TimeZone: wire.timeZone.text(),
		Offsets: items[ZoneOffset](wire.offsets),
		Event:   Event{wire.event.id.text(), wire.event.title.text(), wire.event.starts, wire.event.ends},
		User:    User{wire.user.id.text(), wire.user.registered},
		Rewards: convert(items[wireReward](wire.rewards), wireReward.lift),
		Seed:    wire.seed.bytes(),
	}
}

func (wire wireReward) lift() Reward {
	reward := Reward{ID: wire.id.text(), Kind: wire.kind.text(), MaxQuantity: wire.maxQuantity}
	if wire.hasValue {
		reward.Value = &wire.value
	}
	return reward
}

func (wire wireFact) lift() Fact {
	payload := unsafe.Pointer(&wire.payload)
	switch wire.kind {
	case 1:
		return Fact{Integer: *(*int64)(payload)}
	case 2:
		return Fact{At: *(*Instant)(payload)}
	case 3:
		return Fact{Text: (*span)(payload).text()}
	case 4:
		days := (*wireStreak)(payload)
		streak := Streak{Current: days.current, Longest: days.longest}
		if days.lastDay.some {
			streak.LastDay = &days.lastDay.date
		}
		return Fact{Days: streak}
	default:
		return Fact{Absent: true}
	}
}

// ---- output ----

type wireQuery struct {
	kind    uint8
	_       [0]uint64 // the next field has the alignment of the largest case
	name    span
	subject uint8
	_       [0]uint64
	window  uint8
	bound   int64
	filters span
}

type wireFilter struct{ attribute, equals span }

func (query Query) lower() wireQuery {
	filters := convert(query.filters, func(filter filter) wireFilter {
		return wireFilter{text(filter.attribute), text(filter.equals)}
	})
	return wireQuery{
		kind: query.kind, name: text(query.name), subject: query.subject,
		window: query.window, bound: query.bound, filters: list(filters),
	}
}

type wirePair struct{ first, second span }

type wireTranslation struct{ language, title, description, labels span }

func labels(labels []Label) span {
	return list(convert(labels, func(label Label) wirePair { return wirePair{text(label.Key), text(label.Text)} }))
}

//go:wasmexport describe
func describe() uint32 {
	translations := convert(plugin.Translations, func(in Translation) wireTranslation {
		return wireTranslation{text(in.Language), text(in.Title), text(in.Description), labels(in.Labels)}
	})
	manifest := [7]span{
		text(plugin.Name), text(plugin.Version), text(plugin.Title), text(plugin.Description),
		labels(plugin.Labels), list(translations), text(plugin.Schema),
	}
	return address(&manifest)
}

type wireBinding struct {
	refused        bool
	queries, state span // or the issues in place of the queries
}

//go:wasmexport bind
func bind(start, length uint32) uint32 {
	state := span{start, length} // the text of the params: short, and fast to parse again
	params, fault := readParams(state.text())
	var issues []Issue
	if fault != "" {
		issues = []Issue{{"", fault}}
	} else if plugin.Check != nil {
		issues = plugin.Check(params)
	}
	if len(issues) > 0 {
		wire := convert(issues, func(issue Issue) wirePair { return wirePair{text(issue.Path), text(issue.Message)} })
		return address(&wireBinding{refused: true, queries: list(wire)})
	}
	return address(&wireBinding{queries: list(convert(plugin.Plan(params), Query.lower)), state: state})
}

type wireReason struct{ code, message, args span }

type wireGoal struct {
	key             span
	current, target int64
}

type wireAward struct {
	reward   span
	quantity uint32
}

type wireDecision struct {
	failed            bool
	_                 [0]uint64
	outcome           uint8
	reasons, progress span
	chosen            bool
	awards            span
	hasRetry          bool
	retryAt           Instant
}

type wireFailure struct {
	failed  bool
	_       [0]uint64
	message span
	_       [5]uint64
}

//go:wasmexport evaluate
func evaluate(start uint32) uint32 {
	wire := at[wireEvaluation](start)
	params, fault := readParams(wire.state.text())
	if fault != "" {
		return address(&wireFailure{failed: true, message: text(fault)})
	}
	decision := plugin.Decide(params, convert(items[wireFact](wire.facts), wireFact.lift), wire.context())
	result := wireDecision{
		outcome: decision.outcome,
		reasons: list(convert(decision.reasons, func(reason reason) wireReason {
			args := convert(reason.args, func(arg arg) wirePair { return wirePair{text(arg.name), text(arg.value)} })
			return wireReason{text(reason.code), text(reason.message), list(args)}
		})),
		progress: list(convert(decision.progress, func(goal goal) wireGoal {
			return wireGoal{text(goal.key), goal.current, goal.target}
		})),
		chosen: decision.awards != nil,
		awards: list(convert(decision.awards, func(award award) wireAward {
			return wireAward{text(award.reward), award.quantity}
		})),
	}
	if decision.retryAt != nil {
		result.hasRetry, result.retryAt = true, *decision.retryAt
	}
	return address(&result)
}

//go:wasmimport meed:condition/log@1.0.0 note
func note(start, length uint32)

// Note writes a note for the author. It cannot affect a decision.
func Note(message string) {
	span := text(message)
	note(span.start, span.length)
}
