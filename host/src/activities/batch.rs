//! Parses and validates the activities of one HTTP body or Kafka message, and converts errors to JSON pointers into it.
//!
//! Both transports report the same errors. Must not know: the transport, the recorded activities.

use garde::Validate as _;

use super::cloud_events;
use super::report::NewActivity;
use super::service::{ActivityError, ItemError};
use crate::body::many::{self, MAX_ERRORS};
use crate::body::{field_errors, of_one_line, parse, parse_object};
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
    /// One CloudEvent: `/type`.
    CloudEvent,
    /// An array of CloudEvents: `/3/type`.
    CloudEvents,
}

impl Batch {
    /// The activities of a message that a protocol has parsed.
    pub fn of(activities: Vec<NewActivity>) -> Result<Self, Problem> {
        many::check_count(activities.len(), MAX_BATCH, "activities")?;
        many::validate_each(&activities, |activity: &NewActivity| activity.named_user().map(drop))?;
        Ok(Self {
            activities,
            shape: BodyShape::Array,
        })
    }

    /// Parses one activity or an array of activities.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if is_array {
            return Self::from_items(&many::array(bytes)?);
        }
        let activity: NewActivity = parse(bytes)?;
        let errors = faults_of(&activity);
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
        Self::of(many::parse_each(items, MAX_BATCH, "activities")?)
    }

    /// Parses one CloudEvent.
    pub(super) fn from_cloud_event(bytes: &[u8]) -> Result<Self, Problem> {
        let activity = cloud_events::parse(bytes)?;
        let faults = faults_of(&activity)
            .into_iter()
            .map(cloud_events::at_its_place)
            .collect::<Vec<_>>();
        if !faults.is_empty() {
            return Err(many::faults(faults));
        }
        Ok(Self {
            activities: vec![activity],
            shape: BodyShape::CloudEvent,
        })
    }

    /// Parses an array of CloudEvents, the batch of the JSON format.
    pub(super) fn from_cloud_events(bytes: &[u8]) -> Result<Self, Problem> {
        let items = many::array(bytes)?;
        many::check_count(items.len(), MAX_BATCH, "activities")?;
        let (mut activities, mut errors) = (Vec::new(), Vec::new());
        for (index, item) in items.into_iter().enumerate() {
            let found = match cloud_events::parse(item) {
                Ok(activity) => {
                    let found = faults_of(&activity)
                        .into_iter()
                        .map(cloud_events::at_its_place)
                        .collect();
                    activities.push(activity);
                    found
                }
                Err(problem) if problem.errors().is_empty() => return Err(problem),
                Err(problem) => problem.errors().to_vec(),
            };
            errors.extend(found.iter().map(|error| many::at(index, error)));
        }
        if !errors.is_empty() {
            return Err(many::faults(errors));
        }
        Ok(Self {
            activities,
            shape: BodyShape::CloudEvents,
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

/// What a line holds, which decides where the fields of its activity are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    Activity,
    CloudEvent,
}

impl Line {
    pub(super) fn of(bytes: &[u8]) -> Self {
        if cloud_events::is_cloud_event(bytes) {
            Self::CloudEvent
        } else {
            Self::Activity
        }
    }

    /// The activity, or the first fault at its place in the line.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<NewActivity, FieldError> {
        let parsed = match self {
            Self::Activity => parse_object(bytes),
            Self::CloudEvent => cloud_events::parse(bytes),
        };
        let activity: NewActivity = parsed.map_err(|problem| {
            let whole = || FieldError {
                pointer: String::new(),
                message: of_one_line(problem.detail()),
            };
            problem.errors().first().cloned().unwrap_or_else(whole)
        })?;
        match (faults_of(&activity).into_iter().next(), self) {
            (None, _) => Ok(activity),
            (Some(fault), Self::Activity) => Err(fault),
            (Some(fault), Self::CloudEvent) => Err(cloud_events::at_its_place(fault)),
        }
    }

    /// The place of a field of the activity.
    pub(super) fn pointer(self, field: &str) -> String {
        match self {
            Self::Activity => format!("/{field}"),
            Self::CloudEvent => format!("/{}", cloud_events::place_of(field)),
        }
    }
}

/// What is wrong with the fields of an activity.
pub(super) fn faults_of(activity: &NewActivity) -> Vec<FieldError> {
    let fields = activity.validate().err().map(|report| field_errors(&report));
    fields
        .into_iter()
        .flatten()
        .chain(activity.named_user().err())
        .collect()
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
        let (index, field) = (error.index, error.field);
        let pointer = match self {
            Self::Object => format!("/{field}"),
            Self::Array => format!("/{index}/{field}"),
            Self::CloudEvent => format!("/{}", cloud_events::place_of(field)),
            Self::CloudEvents => format!("/{index}/{}", cloud_events::place_of(field)),
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
