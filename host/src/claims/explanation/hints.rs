//! Values at which the answer of a condition is likely to change: those of its params and its schema, and the targets of
//! its progress. They only order the search; every claim is run.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::contract::{Context, MAX_INTEGER, Progress};

/// One step of an instant, in milliseconds.
pub(super) const MINUTE: i64 = 60_000;
/// The most texts and numbers that are taken from the documents.
const MAX_LEAVES: usize = 512;
/// The most texts, and the most numbers, that an attribute is tried with.
const MAX_TEXTS: usize = 8;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Numbers up to this one may be days or hours.
const MAX_SPAN: i64 = 3660;
/// The members of a schema whose values a text may have.
const VALUES_OF_SCHEMA: [&str; 4] = ["enum", "const", "default", "examples"];

/// What is known about a condition besides its code.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    numbers: Vec<i64>,
    texts: Vec<String>,
}

impl Hints {
    pub(super) fn new(params: &Value, schema: &Value, progress: &[Progress]) -> Self {
        let mut found = Vec::new();
        leaves(params, &mut found);
        values_of(schema, &mut found, 0);
        found.truncate(MAX_LEAVES);
        let mut hints = Self::default();
        hints.numbers.extend(progress.iter().map(|goal| goal.target));
        for leaf in found {
            match leaf {
                Value::String(text) => hints.texts.push(text.clone()),
                Value::Bool(bool) => hints.texts.push(bool.to_string()),
                Value::Number(number) => hints.numbers.extend(whole(number)),
                _ => {}
            }
        }
        hints
            .numbers
            .retain(|number| number.unsigned_abs() <= MAX_INTEGER.unsigned_abs());
        hints.numbers.sort_unstable();
        hints.numbers.dedup();
        let mut seen = std::collections::BTreeSet::new();
        hints.texts.retain(|text| seen.insert(text.clone()));
        hints
    }

    /// Distances upwards and downwards to each number.
    pub(super) fn around(&self, from: i64) -> (Vec<u64>, Vec<u64>) {
        let (ups, downs): (Vec<&i64>, Vec<&i64>) = self.numbers.iter().partition(|number| **number > from);
        let distances = |numbers: Vec<&i64>| numbers.into_iter().map(|number| number.abs_diff(from)).collect();
        (distances(ups), distances(downs))
    }

    /// Minutes later and earlier, to the instants of the texts, and to as many days or hours before now as a number says.
    pub(super) fn instants(&self, from: Timestamp, context: &Context) -> (Vec<u64>, Vec<u64>) {
        let now = context.now.as_millis();
        let texts = self.texts.iter().filter_map(|text| text.parse::<Timestamp>().ok());
        let event = [context.event.starts, context.event.ends];
        let mut at: Vec<i64> = texts.chain(event).map(Timestamp::as_millis).collect();
        for number in self.numbers.iter().filter(|number| (1..=MAX_SPAN).contains(*number)) {
            at.extend([now - number * DAY, now - number * HOUR]);
        }
        let (mut later, mut earlier) = (Vec::new(), Vec::new());
        for at in at {
            let by = at - from.as_millis();
            let distance = by.unsigned_abs().div_ceil(MINUTE.unsigned_abs());
            let side = if by > 0 { &mut later } else { &mut earlier };
            side.push(distance);
        }
        (later, earlier)
    }

    /// Texts that an attribute may have; with those of whole numbers and their neighbours, if wanted.
    pub(super) fn texts(&self, with_numbers: bool) -> Vec<String> {
        let numbers = self.numbers.iter().filter(|_| with_numbers);
        let numbers = numbers.flat_map(|number| [*number, number.saturating_add(1), number.saturating_sub(1)]);
        let texts = self.texts.iter().take(MAX_TEXTS).cloned();
        texts
            .chain(numbers.take(MAX_TEXTS).map(|number| number.to_string()))
            .collect()
    }
}

/// The number, if it is a whole one.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let number = number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        Some(number as i64)
    })
}

/// The values that a schema names, at any place; a schema of the sandbox has a bounded depth.
fn values_of<'a>(schema: &'a Value, found: &mut Vec<&'a Value>, depth: usize) {
    if depth > 64 {
        return;
    }
    match schema {
        Value::Array(items) => items.iter().for_each(|item| values_of(item, found, depth + 1)),
        Value::Object(members) => {
            for (name, member) in members {
                if VALUES_OF_SCHEMA.contains(&name.as_str()) {
                    leaves(member, found);
                } else {
                    values_of(member, found, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// The texts and numbers in a JSON document, in their order.
fn leaves<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        leaf => found.push(leaf),
    }
}
