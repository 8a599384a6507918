//! Facts and their changes in plain English, each with a code and arguments for translations.
//!
//! Must not know: how changes are found.

mod changes;

use std::fmt::Display;

pub(super) use self::changes::change;
use super::model::Sentence;
use crate::claims::model::Status;
use crate::contract::{Arguments, Context, Fact, Query, Selection, Subject, Window};

impl Sentence {
    fn new(code: &str, message: String) -> Self {
        Self {
            code: code.to_owned(),
            message,
            args: Arguments::new(),
        }
    }

    fn arg(mut self, name: &str, value: impl Display) -> Self {
        self.args.insert(name.to_owned(), value.to_string());
        self
    }

    fn of(self, selection: &Selection, context: &Context) -> Self {
        let invited = selection.subject == Subject::Invitees;
        let filters = selection.filters.iter();
        let filters: Vec<String> = filters
            .map(|filter| format!("{}={}", filter.attribute, filter.equals))
            .collect();
        let filters = filters.join(", ");
        let said = self
            .arg("kind", &selection.kind)
            .arg("window", window_code(selection.window));
        let said = said.arg("timeZone", &context.time_zone);
        let said = if invited { said.arg("subject", "invitees") } else { said };
        if filters.is_empty() {
            said
        } else {
            said.arg("filters", filters)
        }
    }
}

/// A fact as it is. `target`: the number from which on the condition decides otherwise, if a run found it.
pub(super) fn fact(query: &Query, fact: &Fact, target: Option<i64>, context: &Context) -> Sentence {
    let of = |number: i64| target.map_or_else(|| number.to_string(), |target| format!("{number} of {target}"));
    let with_target = |said: Sentence, number: i64| {
        let said = said.arg("current", number);
        target.into_iter().fold(said, |said, target| said.arg("target", target))
    };
    match (query, fact) {
        (Query::Count(selection), Fact::Integer(count)) => {
            let noun = if target.unwrap_or(*count) == 1 {
                "activity"
            } else {
                "activities"
            };
            let message = format!(
                "{} {noun} {}{}",
                of(*count),
                kind(selection),
                window(selection, context)
            );
            with_target(Sentence::new("fact-count", message), *count).of(selection, context)
        }
        (Query::Sum(selection), Fact::Integer(sum)) => {
            let message = format!(
                "a sum of {} from {}{}",
                of(*sum),
                kind(selection),
                window(selection, context)
            );
            with_target(Sentence::new("fact-sum", message), *sum).of(selection, context)
        }
        (Query::DistinctDays(selection), Fact::Integer(days)) => {
            let message = days_with(&of(*days), days_noun(target.unwrap_or(*days)), selection, context);
            with_target(Sentence::new("fact-days", message), *days).of(selection, context)
        }
        (Query::Streak(selection), Fact::Days(streak)) => {
            let current = i64::from(streak.current);
            let noun = format!("{} in a row", days_noun(target.unwrap_or(current)));
            let message = days_with(&of(current), &noun, selection, context);
            let said = with_target(Sentence::new("fact-streak", message), current);
            said.arg("longest", streak.longest).of(selection, context)
        }
        (Query::First(selection) | Query::Last(selection), fact) => {
            let (code, which) = if matches!(query, Query::First(_)) {
                ("fact-first", "first")
            } else {
                ("fact-last", "last")
            };
            let place = window(selection, context);
            let said = match fact {
                Fact::At(at) => {
                    Sentence::new(code, format!("the {which} {} was at {at}{place}", kind(selection))).arg("at", at)
                }
                _ => Sentence::new(code, format!("there is no {}{place}", kind(selection))),
            };
            said.of(selection, context)
        }
        (Query::Attribute(name), Fact::Text(text)) => {
            Sentence::new("fact-attribute", format!("the attribute `{name}` is {text:?}"))
                .arg("value", text)
                .arg("name", name)
        }
        (Query::Attribute(name), _) => {
            Sentence::new("fact-attribute", format!("the attribute `{name}` is not set")).arg("name", name)
        }
        (Query::Grants, Fact::Integer(grants)) => {
            let noun = if target.unwrap_or(*grants) == 1 {
                "grant"
            } else {
                "grants"
            };
            with_target(
                Sentence::new("fact-grants", format!("{} earlier {noun} of this event", of(*grants))),
                *grants,
            )
        }
        // A plan and its facts agree; this is no reason to fail.
        (_, fact) => Sentence::new("fact", format!("{fact:?}")),
    }
}

/// A fact about other users, for a user.
pub(super) fn hidden(query: &Query, context: &Context) -> Sentence {
    let said = |selection: &Selection| {
        let message = format!(
            "something about {}, which is not shown because it is about other users",
            kind(selection)
        );
        Sentence::new("fact-hidden", message).of(selection, context)
    };
    selection_of(query).map_or_else(|| Sentence::new("fact-hidden", "not shown".to_owned()), said)
}

/// What follows from changes. `base` is the verdict as it is.
pub(super) fn consequence(base: Status, verdict: Status, refusal: Option<&str>, changes: &[Sentence]) -> Sentence {
    let with = changes
        .iter()
        .map(|change| change.message.as_str())
        .collect::<Vec<_>>()
        .join(" and ");
    match (verdict, refusal) {
        (Status::Granted, _) if base == Status::Held => {
            Sentence::new("no-review", format!("Without a review with {with}."))
        }
        (Status::Granted, _) => Sentence::new("qualifies", format!("You qualify with {with}.")),
        (Status::Held, _) => Sentence::new("needs-review", format!("A person reviews the claim with {with}.")),
        (_, Some(code)) => {
            let message = format!("The condition is met with {with}, but the claim is rejected: {code}.");
            Sentence::new("met-but-rejected", message).arg("reason", code)
        }
        (_, None) => Sentence::new("no-longer", format!("You do not qualify with {with}.")),
    }
}

fn days_noun(days: i64) -> &'static str {
    if days == 1 { "day" } else { "days" }
}

fn days_with(number: &str, noun: &str, selection: &Selection, context: &Context) -> String {
    format!("{number} {noun}{}", days_place(selection, context))
}

fn days_place(selection: &Selection, context: &Context) -> String {
    let window = window(selection, context);
    let comma = if window.is_empty() { "" } else { "," };
    format!(" with {} in {}{comma}{window}", kind(selection), context.time_zone)
}

/// The kind with its filters, and whose activities they are.
fn kind(selection: &Selection) -> String {
    let mut text = format!("`{}`", selection.kind);
    for (number, filter) in selection.filters.iter().enumerate() {
        let word = if number == 0 { "where" } else { "and" };
        let equals = format!("{:?}", filter.equals);
        for part in [" ", word, " `", &filter.attribute, "` is ", &equals] {
            text.push_str(part);
        }
    }
    if selection.subject == Subject::Invitees {
        text.push_str(" of the users that you invited");
    }
    text
}

fn window(selection: &Selection, context: &Context) -> String {
    match selection.window {
        Window::AllTime => String::new(),
        Window::EventPeriod => format!(" since the start of the event ({})", context.event.starts),
        Window::LastDays(1) => " today".to_owned(),
        Window::LastDays(days) => format!(" in the last {days} days"),
        Window::Since(instant) => format!(" since {instant}"),
    }
}

fn window_code(window: Window) -> String {
    match window {
        Window::AllTime => "all-time".to_owned(),
        Window::EventPeriod => "event-period".to_owned(),
        Window::LastDays(days) => format!("last-days:{days}"),
        Window::Since(instant) => format!("since:{instant}"),
    }
}

/// The selection of a query about activities.
pub(super) fn selection_of(query: &Query) -> Option<&Selection> {
    match query {
        Query::Count(selection)
        | Query::Sum(selection)
        | Query::DistinctDays(selection)
        | Query::Streak(selection)
        | Query::First(selection)
        | Query::Last(selection) => Some(selection),
        Query::Attribute(_) | Query::Grants => None,
    }
}
