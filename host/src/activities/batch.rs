//! Parses and validates the activities of one HTTP body or Kafka message, and converts errors to JSON pointers into it.
//!
//! Both transports report the same errors. Must not know: the transport, the recorded activities.

use garde::Validate as _;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::report::NewActivity;
use super::service::{ActivityError, ItemError};
use crate::body::{field_errors, parse, parse_object, without_position};
use crate::problem::{Code, FieldError, INVALID_BODY, MALFORMED_JSON, Problem};

const ACTIVITY_CONFLICT: Code = Code::new(
    "activity-conflict",
    409,
    "The source and id were recorded with different content",
);
const NO_SUCH_USER: Code = Code::new("no-such-user", 404, "There is no such user");

const SOURCE_NOT_ALLOWED: Code = Code::new(
    "source-not-allowed",
    403,
    "The service key may not report under the source",
);
const SOURCE_TAKEN: Code = Code::new("source-taken", 409, "The source belongs to another principal");

pub const CODES: &[Code] = &[ACTIVITY_CONFLICT, NO_SUCH_USER, SOURCE_NOT_ALLOWED, SOURCE_TAKEN];

pub const MAX_BATCH: usize = 1000;
/// The maximum number of errors in one problem, so that a batch with the same error everywhere gets a short answer.
const MAX_ERRORS: usize = 20;

/// The activities of one call. Each is valid on its own.
#[derive(Clone, Debug)]
pub struct Batch {
    activities: Vec<NewActivity>,
    shape: BodyShape,
}

/// The shape of the body, which determines the JSON pointers into it.
#[derive(Clone, Copy, Debug)]
pub enum BodyShape {
    /// One activity: `/kind`.
    Object,
    /// An array, or one activity per line: `/3/kind`.
    Array,
}

impl Batch {
    /// Parses one activity or an array of activities.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if !is_array {
            let batch = Self {
                activities: vec![parse(bytes)?],
                shape: BodyShape::Object,
            };
            return batch.validated();
        }
        let items: Vec<&RawValue> = serde_json::from_slice(bytes)
            .map_err(|error| Problem::new(MALFORMED_JSON, format!("The body is not valid JSON: {error}.")))?;
        check_count(items.len())?;
        Self::from_items(items.into_iter().map(|item| item.get().as_bytes()))
    }

    /// Parses one activity per line. JSON pointers are those of the lines as an array.
    pub(super) fn from_lines(bytes: &[u8]) -> Result<Self, Problem> {
        let malformed = |message: String| Problem::new(MALFORMED_JSON, message);
        if bytes.starts_with("\u{feff}".as_bytes()) {
            return Err(malformed(
                "The body begins with a byte-order mark (U+FEFF); send UTF-8 without it.".to_owned(),
            ));
        }
        let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
        let lines: Vec<_> = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
        for (number, line) in &lines {
            serde_json::from_slice::<IgnoredAny>(line).map_err(|error| {
                let (message, column) = (without_position(&error), error.column());
                malformed(format!(
                    "Line {number} is not valid JSON: {message} at column {column}."
                ))
            })?;
        }
        check_count(lines.len())?;
        Self::from_items(lines.into_iter().map(|(_, line)| line))
    }

    /// Parses each item, so that a wrong type in one hides none in another.
    fn from_items<'a>(items: impl Iterator<Item = &'a [u8]>) -> Result<Self, Problem> {
        let (mut activities, mut errors) = (Vec::new(), Vec::new());
        for (index, item) in items.enumerate() {
            match parse_object::<NewActivity>(item) {
                Ok(activity) => activities.push(activity),
                Err(problem) if problem.errors().is_empty() => return Err(problem),
                Err(problem) => errors.extend(problem.errors().iter().map(|error| FieldError {
                    pointer: format!("/{index}{}", error.pointer),
                    message: error.message.clone(),
                })),
            }
        }
        if !errors.is_empty() {
            return Err(faults(errors));
        }
        let batch = Self {
            activities,
            shape: BodyShape::Array,
        };
        batch.validated()
    }

    pub fn activities(&self) -> &[NewActivity] {
        &self.activities
    }

    pub fn into_activities(self) -> Vec<NewActivity> {
        self.activities
    }

    pub fn shape(&self) -> BodyShape {
        self.shape
    }

    fn validated(self) -> Result<Self, Problem> {
        let report = match self.shape {
            BodyShape::Object => self.activities.iter().try_for_each(garde::Validate::validate),
            BodyShape::Array => self.activities.validate(),
        };
        report.map_err(|report| faults(field_errors(&report)))?;
        Ok(self)
    }
}

fn check_count(count: usize) -> Result<(), Problem> {
    if (1..=MAX_BATCH).contains(&count) {
        return Ok(());
    }
    Err(Problem::field(
        "",
        format!("there are {count} activities; send 1 to {MAX_BATCH} in one call"),
    ))
}

/// The problem of these errors: the first ones, and how many there are.
fn faults(mut errors: Vec<FieldError>) -> Problem {
    let count = errors.len();
    if count <= MAX_ERRORS {
        return Problem::fields(errors);
    }
    errors.truncate(MAX_ERRORS);
    let detail = format!("{count} fields are invalid; these are the first {MAX_ERRORS}.");
    Problem::new(INVALID_BODY, detail).with_errors(errors)
}

impl BodyShape {
    /// The problem for an error of this call, with JSON pointers into its body.
    pub fn problem(self, error: ActivityError) -> Problem {
        let detail = error.to_string();
        let (code, errors) = match error {
            ActivityError::Invalid(errors) => (INVALID_BODY, errors),
            ActivityError::Conflict(errors) => (ACTIVITY_CONFLICT, errors),
            ActivityError::SourceNotAllowed(errors) => (SOURCE_NOT_ALLOWED, errors),
            ActivityError::SourceTaken(errors) => (SOURCE_TAKEN, errors),
            other => return other.into(),
        };
        let errors = errors.into_iter().take(MAX_ERRORS).map(|error| self.field_error(error));
        Problem::new(code, detail).with_errors(errors.collect())
    }

    fn field_error(self, error: ItemError) -> FieldError {
        let pointer = match self {
            Self::Object => format!("/{}", error.field),
            Self::Array => format!("/{}/{}", error.index, error.field),
        };
        FieldError {
            pointer,
            message: error.message,
        }
    }
}

impl From<ActivityError> for Problem {
    fn from(error: ActivityError) -> Self {
        let detail = error.to_string();
        match error {
            ActivityError::NoSuchOwner(_) => Self::field("/ownerId", detail),
            ActivityError::NoSuchUser(_) => Self::new(NO_SUCH_USER, detail),
            ActivityError::Db(error) => error.into(),
            // Only calls that report activities return these errors; they convert them with the shape of their body.
            ActivityError::Invalid(_)
            | ActivityError::Conflict(_)
            | ActivityError::SourceNotAllowed(_)
            | ActivityError::SourceTaken(_) => BodyShape::Array.problem(error),
        }
    }
}
