//! Several items in one body: a JSON array, or one item per line. Must not know: what the items are.

use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use super::{field_errors, parse_object, without_position};
use crate::problem::{FieldError, INVALID_BODY, MALFORMED_JSON, Problem};

/// The maximum number of errors in one problem, so that many items with the same error get a short answer.
pub const MAX_ERRORS: usize = 20;

/// The items of an array.
pub fn array(bytes: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let items: Vec<&RawValue> = serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(MALFORMED_JSON, format!("The body is not valid JSON: {error}.")))?;
    Ok(items.into_iter().map(|item| item.get().as_bytes()).collect())
}

/// The lines that are not blank. JSON pointers are those of the lines as an array.
pub fn lines(bytes: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let malformed = |message: String| Problem::new(MALFORMED_JSON, message);
    let lines = (1..).zip(without_mark(bytes).split(|byte| *byte == b'\n'));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    for (number, line) in &lines {
        serde_json::from_slice::<IgnoredAny>(line).map_err(|error| {
            let (message, column) = (without_position(&error), error.column());
            malformed(format!(
                "Line {number} is not valid JSON: {message} at column {column}."
            ))
        })?;
    }
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Files of some systems begin with a byte-order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// `what` names the items in the message.
pub fn check_count(count: usize, most: usize, what: &str) -> Result<(), Problem> {
    if (1..=most).contains(&count) {
        return Ok(());
    }
    Err(Problem::field(
        "",
        format!("there are {count} {what}; send 1 to {most} in one call"),
    ))
}

/// Parses each item, so that a wrong type in one hides none in another. `what` names the items in messages.
pub fn parse_each<T: DeserializeOwned>(items: &[&[u8]], most: usize, what: &str) -> Result<Vec<T>, Problem> {
    check_count(items.len(), most, what)?;
    let (mut parsed, mut errors) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match parse_object::<T>(item) {
            Ok(item) => parsed.push(item),
            Err(problem) if problem.errors().is_empty() => return Err(problem),
            Err(problem) => errors.extend(problem.errors().iter().map(|error| at(index, error))),
        }
    }
    if errors.is_empty() {
        Ok(parsed)
    } else {
        Err(faults(errors))
    }
}

/// Validates each item. `more` finds what the validation of the fields cannot.
pub fn validate_each<T>(items: &[T], more: impl Fn(&T) -> Result<(), FieldError>) -> Result<(), Problem>
where
    T: Validate,
    T::Context: Default,
{
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let fields = item.validate().err().map(|report| field_errors(&report));
        let found = fields.into_iter().flatten().chain(more(item).err());
        errors.extend(found.map(|error| at(index, &error)));
    }
    if errors.is_empty() { Ok(()) } else { Err(faults(errors)) }
}

/// The error of an item as an error of the whole body.
pub fn at(index: usize, error: &FieldError) -> FieldError {
    FieldError {
        pointer: format!("/{index}{}", error.pointer),
        message: error.message.clone(),
    }
}

/// The problem of these errors: the first ones, and how many there are.
pub fn faults(mut errors: Vec<FieldError>) -> Problem {
    let count = errors.len();
    if count <= MAX_ERRORS {
        return Problem::fields(errors);
    }
    errors.truncate(MAX_ERRORS);
    let detail = format!("{count} fields are invalid; these are the first {MAX_ERRORS}.");
    Problem::new(INVALID_BODY, detail).with_errors(errors)
}
