//! A claim in a message: `{"id", "userId", "eventId"}`, made when the message was. Must not know: how claims wait and are
//! settled.

use serde::Deserialize;
use uuid::Uuid;

use super::intake::{Message, Poison, Taken, Unfinished};
use crate::body::parse_object;
use crate::claims::{Claims, ExternalClaim, PermanentRejection};
use crate::problem::{INVALID_BODY, Problem};

const TOO_OLD: &str = "claim-too-old";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Claim {
    id: String,
    user_id: Uuid,
    event_id: Uuid,
}

pub(super) async fn take(service: &Claims, messages: &[Message<'_>]) -> Result<Taken, Unfinished> {
    let mut taken: Taken = Vec::with_capacity(messages.len());
    let (mut places, mut arrivals) = (Vec::new(), Vec::new());
    for (place, message) in messages.iter().enumerate() {
        let arrival = read(message);
        taken.push(arrival.as_ref().map(drop).map_err(Poison::clone));
        if let Ok(arrival) = arrival {
            places.push(place);
            arrivals.push(arrival);
        }
    }
    let (told, ended) = service.receive_in_order(&arrivals).await;
    let unfinished = places.get(told.len()).copied();
    for (place, told) in places.into_iter().zip(told) {
        taken[place] = told.map_err(Poison::from);
    }
    match (unfinished, ended) {
        (Some(0), Err(error)) => Err(error.into()),
        (Some(place), _) => {
            taken.truncate(place);
            Ok(taken)
        }
        (None, _) => Ok(taken),
    }
}

fn read(message: &Message<'_>) -> Result<ExternalClaim, Poison> {
    let claim: Claim = parse_object(message.value()?)?;
    let id = claim.id.parse();
    Ok(ExternalClaim {
        id: id.map_err(|_| Problem::field("/id", "use 1 to 255 visible ASCII characters, such as a UUID"))?,
        user_id: claim.user_id,
        event_id: claim.event_id,
        at: message.at,
    })
}

impl From<PermanentRejection> for Poison {
    fn from(reason: PermanentRejection) -> Self {
        let detail = reason.to_string();
        match reason {
            PermanentRejection::NoSuchUser(_) => Self {
                code: INVALID_BODY.code,
                detail,
            },
            PermanentRejection::TooOld(..) => Self { code: TOO_OLD, detail },
            PermanentRejection::Refused(error) => Problem::from(error).into(),
        }
    }
}
