//! Activities in a message, in the format of `POST /activities`. Must not know: how activities are recorded.

use super::intake::{Message, Poison, Processed};
use crate::activities::{ActivityError, ActivityService, Batch, MAX_BATCH};
use crate::db::DbError;

/// Records as many messages as possible in one transaction. If that fails, each message is recorded separately, so that
/// a faulty one does not affect the others.
pub(super) async fn record(service: &ActivityService, messages: &[Message<'_>]) -> Result<Processed, DbError> {
    let mut results: Processed = Vec::with_capacity(messages.len());
    let mut valid: Vec<(usize, Batch)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let parsed = parse(message);
        results.push(parsed.as_ref().map(drop).map_err(Poison::clone));
        valid.extend(parsed.ok().map(|batch| (index, batch)));
    }
    let mut rest = valid.as_slice();
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
        match service.record(all, None).await {
            Ok(_) => continue,
            Err(ActivityError::Db(error)) => return Err(error),
            Err(_) => {}
        }
        for (index, batch) in together {
            match service.record(batch.activities().to_vec(), None).await {
                Ok(_) => {}
                Err(ActivityError::Db(error)) => return Err(error),
                Err(error) => results[*index] = Err(batch.shape().problem(error).into()),
            }
        }
    }
    Ok(results)
}

fn parse(message: &Message<'_>) -> Result<Batch, Poison> {
    Ok(Batch::from_json(message.value()?)?)
}
