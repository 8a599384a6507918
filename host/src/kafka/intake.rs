//! What is done with the messages of a topic. Each is taken whole or refused whole, and one that was taken before changes
//! nothing. Must not know: Kafka.

use crate::activities::{ActivityError, ActivityService, Batch, MAX_BATCH};
use crate::db::DbError;
use crate::http::Problem;
// What a body over HTTP may have; nobody should find a way around it.
use crate::http::layers::BODY_LIMIT;

/// Who takes them. A topic of anything else is another variant, and nothing else changes.
#[derive(Clone)]
pub enum Intake {
    /// One activity in each message or an array of up to 1000, as for `POST /activities`.
    Activities(ActivityService),
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
            detail: problem.in_words(),
        }
    }
}

/// What became of a message.
pub(super) type Verdict = Result<(), Poison>;

impl Intake {
    /// Takes messages, and says of each what became of it. An error is the database's: then ask again, as nobody knows which
    /// of them were taken.
    pub(super) async fn take(&self, messages: &[Option<&[u8]>]) -> Result<Vec<Verdict>, DbError> {
        match self {
            Self::Activities(service) => record(service, messages).await,
        }
    }
}

/// Records as much as possible in one transaction: what is wrong with one message is not the fault of the others, so when
/// it is found, they are recorded one by one.
async fn record(service: &ActivityService, messages: &[Option<&[u8]>]) -> Result<Vec<Verdict>, DbError> {
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(messages.len());
    let mut sound: Vec<(usize, Batch)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let parsed = parse(*message);
        verdicts.push(parsed.as_ref().map(drop).map_err(Poison::clone));
        sound.extend(parsed.ok().map(|batch| (index, batch)));
    }
    let mut rest = sound.as_slice();
    while !rest.is_empty() {
        let mut count = 0;
        let fits = rest.iter().take_while(|(_, batch)| {
            count += batch.activities().len();
            count <= MAX_BATCH
        });
        let (together, others) = rest.split_at(fits.count().max(1));
        rest = others;
        let all = together
            .iter()
            .flat_map(|(_, batch)| batch.activities().to_vec())
            .collect();
        match service.record(all).await {
            Ok(_) => continue,
            Err(ActivityError::Db(error)) => return Err(error),
            Err(_) => {}
        }
        for (index, batch) in together {
            match service.record(batch.activities().to_vec()).await {
                Ok(_) => {}
                Err(ActivityError::Db(error)) => return Err(error),
                Err(error) => verdicts[*index] = Err(batch.place().problem(error).into()),
            }
        }
    }
    Ok(verdicts)
}

fn parse(message: Option<&[u8]>) -> Result<Batch, Poison> {
    let Some(message) = message else {
        return Err(Poison {
            code: "malformed-json",
            detail: "The message has no value.".to_owned(),
        });
    };
    if message.len() > BODY_LIMIT {
        return Err(Poison {
            code: "body-too-large",
            detail: format!(
                "The message has {} bytes; send up to {BODY_LIMIT}, and the rest in another one.",
                message.len()
            ),
        });
    }
    Batch::from_json(message).map_err(Poison::from)
}
