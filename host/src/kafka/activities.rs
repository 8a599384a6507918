//! Activities in a message: what a body of `POST /activities` has. Must not know: how they are recorded.

use super::intake::{Message, Poison, Taken};
use crate::activities::{ActivityError, ActivityService, Batch, MAX_BATCH};
use crate::db::DbError;

/// Records as much as possible in one transaction: what is wrong with one message is not the fault of the others, so when
/// it is found, they are recorded one by one.
pub(super) async fn record(service: &ActivityService, messages: &[Message<'_>]) -> Result<Taken, DbError> {
    let mut verdicts: Taken = Vec::with_capacity(messages.len());
    let mut sound: Vec<(usize, Batch)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let parsed = parse(message);
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
                Err(error) => verdicts[*index] = Err(batch.shape().problem(error).into()),
            }
        }
    }
    Ok(verdicts)
}

fn parse(message: &Message<'_>) -> Result<Batch, Poison> {
    Ok(Batch::from_json(message.value()?)?)
}
