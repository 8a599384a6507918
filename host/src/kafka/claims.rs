//! A claim in a message: `{"id", "userId" or "externalUserId", "eventId"}`, with the message's time as the time of the claim. Must not know: how
//! claims are queued and decided.

use serde::Deserialize;
use uuid::Uuid;

use super::intake::{Message, Poison, Processed, Unfinished};
use crate::body::parse_object;
use crate::claims::{ExternalClaim, ExternalIntake, PermanentRejection};
use crate::directory::{ExternalId, UserRef};
use crate::problem::{INVALID_BODY, Problem};

const TOO_OLD: &str = "claim-too-old";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Claim {
    id: String,
    user_id: Option<Uuid>,
    external_user_id: Option<ExternalId>,
    event_id: Uuid,
}

/// Queues claims in their order; stops at the first that must be retried.
pub(super) async fn receive(intake: &ExternalIntake, messages: &[Message<'_>]) -> Result<Processed, Unfinished> {
    let mut results: Processed = Vec::with_capacity(messages.len());
    let (mut indexes, mut claims) = (Vec::new(), Vec::new());
    for (index, message) in messages.iter().enumerate() {
        let claim = read(message);
        results.push(claim.as_ref().map(drop).map_err(Poison::clone));
        if let Ok(claim) = claim {
            indexes.push(index);
            claims.push(claim);
        }
    }
    let (received, ended) = intake.accept_in_order(&claims).await;
    let unfinished = indexes.get(received.len()).copied();
    for (index, received) in indexes.into_iter().zip(received) {
        results[index] = received.map_err(Poison::from);
    }
    match (unfinished, ended) {
        (Some(0), Err(error)) => Err(error.into()),
        (Some(index), _) => {
            results.truncate(index);
            Ok(results)
        }
        (None, _) => Ok(results),
    }
}

fn read(message: &Message<'_>) -> Result<ExternalClaim, Poison> {
    let claim: Claim = parse_object(message.value()?)?;
    let id = claim.id.parse();
    Ok(ExternalClaim {
        id: id.map_err(|_| Problem::field("/id", "use 1 to 255 visible ASCII characters, such as a UUID"))?,
        user: UserRef::of_members(claim.user_id, claim.external_user_id.as_ref())
            .map_err(|error| Problem::fields(vec![error]))?,
        event_id: claim.event_id,
        at: message.at,
    })
}

impl From<PermanentRejection> for Poison {
    fn from(reason: PermanentRejection) -> Self {
        let detail = reason.to_string();
        match reason {
            PermanentRejection::NoSuchUser { .. } => Self {
                code: INVALID_BODY.code,
                detail,
            },
            PermanentRejection::TooOld(..) => Self { code: TOO_OLD, detail },
            PermanentRejection::Refused(error) => Problem::from(error).into(),
        }
    }
}
