//! What is done with the messages of a topic. Each is taken whole or refused whole, and one that was taken before changes
//! nothing. Must not know: Kafka.

use super::{activities, claims};
use crate::activities::ActivityService;
use crate::body;
use crate::claims::{ClaimError, Claims};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::problem::{BODY_TOO_LARGE, MALFORMED_JSON, Problem};

/// Who takes them. A topic of anything else is another variant, and nothing else changes.
#[derive(Clone)]
pub enum Intake {
    /// One activity in each message or an array of up to 1000, as for `POST /activities`.
    Activities(ActivityService),
    /// One claim in each message, in the order in which they are to be decided.
    Claims(Claims),
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub value: Option<&'a [u8]>,
    /// When it was made, or when the broker got it: as the topic is set up.
    pub at: Option<Timestamp>,
}

/// Why a message can never be taken: in the words of the API.
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

/// What became of some messages, one after the other: the first of those that were asked about, or all.
pub(super) type Taken = Vec<Result<(), Poison>>;

/// Nothing is told of any message, so all have to come again: the database failed, or there is no room.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

impl Intake {
    /// Takes messages, and says of at least one what became of it. Whoever has the rest asks again.
    pub(super) async fn take(&self, messages: &[Message<'_>]) -> Result<Taken, Unfinished> {
        match self {
            Self::Activities(service) => Ok(activities::record(service, messages).await?),
            Self::Claims(service) => claims::take(service, messages).await,
        }
    }
}

impl<'a> Message<'a> {
    /// What there is to parse.
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
