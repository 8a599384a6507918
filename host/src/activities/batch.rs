//! The activities of one body or message, parsed and each valid by itself, and what is wrong with them by their places in it.
//!
//! Whoever brings them, over HTTP or through a topic, is told the same. Must not know: where they come from, and what is
//! recorded already.

use garde::Validate as _;
use serde::de::IgnoredAny;

use super::report::NewActivity;
use super::routes::ACTIVITY_CONFLICT;
use super::service::{ActivityError, Fault};
use crate::http::extract::{field_errors, parse};
use crate::http::problem::{INVALID_BODY, MALFORMED_JSON};
use crate::http::{FieldError, Problem};

pub const MAX_BATCH: usize = 1000;
/// A batch with the same fault everywhere is not answered with a thousand of them.
const MAX_FAULTS: usize = 20;

/// The activities of one call, each valid by itself.
#[derive(Clone, Debug)]
pub struct Batch {
    activities: Vec<NewActivity>,
    place: Place,
}

/// Where an activity stands in the body, for pointers into it.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Alone,
    InSequence,
}

impl Batch {
    /// One activity, or an array of them.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let batch = if is_array {
            Self {
                activities: parse(bytes)?,
                place: Place::InSequence,
            }
        } else {
            Self {
                activities: vec![parse(bytes)?],
                place: Place::Alone,
            }
        };
        batch.validated()
    }

    /// One on each line. Lines become an array, so that pointers into it come out right.
    pub(super) fn from_lines(bytes: &[u8]) -> Result<Self, Problem> {
        let mut array = vec![b'['];
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            serde_json::from_slice::<IgnoredAny>(line)
                .map_err(|error| Problem::new(MALFORMED_JSON, format!("Line {number} is not valid JSON: {error}.")))?;
            if array.len() > 1 {
                array.push(b',');
            }
            array.extend(line);
        }
        array.push(b']');
        let batch = Self {
            activities: parse(&array)?,
            place: Place::InSequence,
        };
        batch.validated()
    }

    pub fn activities(&self) -> &[NewActivity] {
        &self.activities
    }

    pub fn into_activities(self) -> Vec<NewActivity> {
        self.activities
    }

    pub fn place(&self) -> Place {
        self.place
    }

    fn validated(self) -> Result<Self, Problem> {
        let count = self.activities.len();
        if !(1..=MAX_BATCH).contains(&count) {
            return Err(Problem::field(
                "",
                format!("there are {count} activities; send 1 to {MAX_BATCH} at a time"),
            ));
        }
        let report = match self.place {
            Place::Alone => self.activities.iter().try_for_each(garde::Validate::validate),
            Place::InSequence => self.activities.validate(),
        };
        report.map_err(|report| {
            let mut faults = field_errors(&report);
            faults.truncate(MAX_FAULTS);
            Problem::fields(faults)
        })?;
        Ok(self)
    }
}

impl Place {
    /// An error about activities of this call, with pointers into its body.
    pub fn problem(self, error: ActivityError) -> Problem {
        let detail = error.to_string();
        let (code, faults) = match error {
            ActivityError::Invalid(faults) => (INVALID_BODY, faults),
            ActivityError::Conflict(faults) => (ACTIVITY_CONFLICT, faults),
            other => return other.into(),
        };
        let errors = faults.into_iter().take(MAX_FAULTS).map(|fault| self.point_at(fault));
        Problem::new(code, detail).with_errors(errors.collect())
    }

    fn point_at(self, fault: Fault) -> FieldError {
        let pointer = match self {
            Self::Alone => format!("/{}", fault.field),
            Self::InSequence => format!("/{}/{}", fault.index, fault.field),
        };
        FieldError {
            pointer,
            message: fault.message,
        }
    }
}
