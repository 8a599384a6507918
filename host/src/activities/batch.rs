//! Parses and validates the activities of one HTTP body or Kafka message, and converts errors to JSON pointers into it.
//!
//! Both transports report the same errors. Must not know: the transport, the recorded activities.

use garde::Validate as _;

use super::report::NewActivity;
use super::service::{ActivityError, ItemError};
use crate::body::many::{self, MAX_ERRORS};
use crate::body::{field_errors, parse};
use crate::problem::{Code, FieldError, INVALID_BODY, Problem};

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
        if is_array {
            return Self::from_items(&many::array(bytes)?);
        }
        let activity: NewActivity = parse(bytes)?;
        let fields = activity.validate().err().map(|report| field_errors(&report));
        let errors: Vec<FieldError> = fields
            .into_iter()
            .flatten()
            .chain(activity.named_user().err())
            .collect();
        if !errors.is_empty() {
            return Err(many::faults(errors));
        }
        Ok(Self {
            activities: vec![activity],
            shape: BodyShape::Object,
        })
    }

    /// Parses one activity per line. JSON pointers are those of the lines as an array.
    pub(super) fn from_lines(bytes: &[u8]) -> Result<Self, Problem> {
        Self::from_items(&many::lines(bytes)?)
    }

    fn from_items(items: &[&[u8]]) -> Result<Self, Problem> {
        let activities = many::parse_each(items, MAX_BATCH, "activities")?;
        many::validate_each(&activities, |activity: &NewActivity| activity.named_user().map(drop))?;
        Ok(Self {
            activities,
            shape: BodyShape::Array,
        })
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
