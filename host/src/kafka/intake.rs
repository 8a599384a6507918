//! Processes the messages of a topic. A message is accepted or refused as a whole, and one that was accepted before changes
//! nothing. Must not know: Kafka.

use super::{activities, claims};
use crate::activities::ActivityService;
use crate::body;
use crate::claims::{ClaimError, ExternalIntake};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::problem::{BODY_TOO_LARGE, MALFORMED_JSON, Problem};

/// What a topic holds. Another kind of topic would be another variant.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "one per topic of a process")]
pub enum Intake {
    /// One activity in each message, or an array of up to 1000, as in `POST /activities`.
    Activities(ActivityService),
    /// One claim in each message, in the order in which they must be decided.
    Claims(ExternalIntake),
}

/// A message as it was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub value: Option<&'a [u8]>,
    /// When it was produced or appended, as the topic is configured.
    pub at: Option<Timestamp>,
}

/// Why a message can never be processed: the code and detail of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Poison {
    pub code: &'static str,
    pub detail: String,
}

impl From<Problem> for Poison {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code().code,
            detail: problem.to_line(),
        }
    }
}

/// The results of the first messages, in their order; at least one.
pub(super) type Processed = Vec<Result<(), Poison>>;

/// No message was processed, because the database failed or the queues are full. All must be retried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

impl Intake {
    /// Processes at least the first message, and returns the results in order. The caller retries the rest.
    pub(super) async fn process(&self, messages: &[Message<'_>]) -> Result<Processed, Unfinished> {
        match self {
            Self::Activities(service) => Ok(activities::record(service, messages).await?),
            Self::Claims(intake) => claims::receive(intake, messages).await,
        }
    }
}

impl<'a> Message<'a> {
    /// The value, if there is one and it is not too large.
    pub(super) fn value(&self) -> Result<&'a [u8], Poison> {
        let Some(value) = self.value else {
            return Err(Poison {
                code: MALFORMED_JSON.code,
                detail: "The message has no value.".to_owned(),
            });
        };
        if value.len() > body::LIMIT {
            return Err(Poison {
                code: BODY_TOO_LARGE.code,
                detail: format!(
                    "The message has {} bytes; send at most {} in one message.",
                    value.len(),
                    body::LIMIT
                ),
            });
        }
        Ok(value)
    }
}
