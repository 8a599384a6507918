//! What would have to be different about a fact.

use super::{days_place, kind, window};
use crate::claims::explanation::model::Sentence;
use crate::clock::Timestamp;
use crate::contract::{Context, Fact, Query, Selection};

/// What would have to be different.
pub(in crate::claims::explanation) fn change(
    query: &Query,
    from: &Fact,
    to: &Fact,
    is_longest: bool,
    context: &Context,
) -> Sentence {
    let more = |noun: [&str; 2], from: i64, to: i64, what: &str| {
        let by = to.abs_diff(from);
        let (code, word) = if to > from {
            ("more", "more")
        } else {
            ("fewer", "fewer")
        };
        let noun = noun[usize::from(by != 1)];
        Sentence::new(code, format!("{by} {word} {noun}{what} ({to} instead of {from})"))
            .arg("by", by)
            .arg("from", from)
            .arg("to", to)
    };
    match (query, from, to) {
        (Query::Count(selection), Fact::Integer(from), Fact::Integer(to)) => {
            let what = format!(" {}{}", kind(selection), window(selection, context));
            more(["activity", "activities"], *from, *to, &what).of(selection, context)
        }
        (Query::Sum(selection), Fact::Integer(from), Fact::Integer(to)) => {
            let place = format!("{}{}", kind(selection), window(selection, context));
            let said = format!("a sum of {to} instead of {from} from {place}");
            let said = Sentence::new(if to > from { "more" } else { "fewer" }, said);
            said.arg("by", to.abs_diff(*from))
                .arg("from", from)
                .arg("to", to)
                .of(selection, context)
        }
        (Query::DistinctDays(selection), Fact::Integer(from), Fact::Integer(to)) => {
            let what = days_place(selection, context);
            more(["day", "days"], *from, *to, &what).of(selection, context)
        }
        (Query::Streak(selection), Fact::Days(from), Fact::Days(to)) => {
            let what = days_place(selection, context);
            let (noun, from, to) = if is_longest {
                (
                    ["day in the longest run of days", "days in the longest run of days"],
                    from.longest,
                    to.longest,
                )
            } else {
                (["day in a row", "days in a row"], from.current, to.current)
            };
            more(noun, i64::from(from), i64::from(to), &what).of(selection, context)
        }
        (Query::First(selection) | Query::Last(selection), from, to) => {
            instant(matches!(query, Query::First(_)), selection, from, to).of(selection, context)
        }
        (Query::Attribute(name), from, Fact::Text(to)) => {
            let said = format!("the attribute `{name}` as {to:?} ({})", is_now(from));
            Sentence::new("set", said).arg("name", name).arg("to", to)
        }
        (Query::Attribute(name), from, _) => {
            Sentence::new("unset", format!("no attribute `{name}` ({})", is_now(from))).arg("name", name)
        }
        (Query::Grants, Fact::Integer(from), Fact::Integer(to)) => more(
            ["earlier grant of this event", "earlier grants of this event"],
            *from,
            *to,
            "",
        ),
        (_, _, to) => Sentence::new("other", format!("{to:?}")),
    }
}

fn instant(is_first: bool, selection: &Selection, from: &Fact, to: &Fact) -> Sentence {
    let which = if is_first { "first" } else { "last" };
    let what = kind(selection);
    match (from, to) {
        (Fact::At(from), Fact::At(to)) => {
            let (code, word) = if to > from {
                ("later", "later")
            } else {
                ("earlier", "earlier")
            };
            let by = span(*from, *to);
            let message = format!("the {which} {what} {by} {word} (at {to} instead of {from})");
            Sentence::new(code, message).arg("from", from).arg("to", to)
        }
        (_, Fact::At(to)) => {
            Sentence::new("happened", format!("the {which} {what} at {to} (there is none)")).arg("to", to)
        }
        (Fact::At(from), _) => {
            Sentence::new("none", format!("no {what} (the {which} was at {from})")).arg("from", from)
        }
        _ => Sentence::new("none", format!("no {what}")),
    }
}

/// Days, hours and minutes, without those that are zero.
fn span(one: Timestamp, other: Timestamp) -> String {
    let minutes = one.as_millis().abs_diff(other.as_millis()) / 60_000;
    let parts = [(minutes / 1440, "d"), (minutes / 60 % 24, "h"), (minutes % 60, "min")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if parts.is_empty() {
        "less than a minute".to_owned()
    } else {
        parts.join(" ")
    }
}

fn is_now(fact: &Fact) -> String {
    match fact {
        Fact::Text(text) => format!("it is {text:?}"),
        _ => "it is not set".to_owned(),
    }
}
