//! `meed.v1.ClaimService`.

use std::time::Duration;

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use meed_proto::v1::claim_request::User as NamedUser;
use meed_proto::v1::claim_response::Answer;
use meed_proto::v1::{ClaimRequest, ClaimResponse, GetRewardRequestRequest, GetRewardRequestResponse, RewardRequest};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::message::{User, of_document, of_json, only_id};
use crate::auth::{ClaimsWrite, Principal};
use crate::claims::{ClaimAnswer, Claims, IdempotencyKey, Status};
use crate::problem::{FieldError, Problem};

/// How long a caller may wait for a decision. Below the time-out of a request.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Between two looks at the request of a caller that waits.
const PERIOD: Duration = Duration::from_millis(250);
/// Callers that wait at the same time. Others are answered at once.
const MAX_WAITING: usize = 64;

pub(super) struct ClaimCalls {
    claims: Claims,
    waiting: Semaphore,
}

impl ClaimCalls {
    pub(super) fn new(claims: Claims) -> Self {
        let waiting = Semaphore::new(MAX_WAITING);
        Self { claims, waiting }
    }
}

impl meed_proto::v1::ClaimService for ClaimCalls {
    async fn claim(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ClaimRequest>,
    ) -> ServiceResult<ClaimResponse> {
        let ClaimsWrite(principal) = ClaimsWrite::of(context.extensions())?;
        let request = request.to_owned_message();
        let user = claimant(&request).map_err(|error| Problem::fields(vec![error]))?;
        let key: Option<IdempotencyKey> = request
            .idempotency_key
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|message: String| Problem::field("/idempotencyKey", message))?;
        let event_id = only_id(&request.event_id, "eventId")?;
        let claimed = self
            .claims
            .claim(&principal, user.named(), event_id, key, request.respond_async);
        let (answer, request): (_, RewardRequest) = match claimed.await? {
            ClaimAnswer::Decided(request) => (Answer::DECIDED, of_document(&request)?),
            ClaimAnswer::Pending(request) => (Answer::QUEUED, of_document(&request)?),
            ClaimAnswer::RefusedAgain(request) => (Answer::REPEATED, of_document(&request)?),
            ClaimAnswer::SoldOutAgain { response, .. } => (Answer::REPEATED, of_json(&response)?),
            ClaimAnswer::Replayed { response, .. } => (Answer::REPLAYED, of_json(&response)?),
        };
        Response::ok(ClaimResponse {
            reward_request: request.into(),
            answer: answer.into(),
        })
    }

    async fn get_reward_request(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetRewardRequestRequest>,
    ) -> ServiceResult<GetRewardRequestResponse> {
        let principal = Principal::of(context.extensions())?;
        let id = only_id(request.id, "id")?;
        let wait = Duration::from_secs(request.wait_seconds.into());
        if wait > MAX_WAIT {
            let message = format!("is {}; send 0 to {}", request.wait_seconds, MAX_WAIT.as_secs());
            return Err(Problem::field("/waitSeconds", message).into());
        }
        let wait = context.time_remaining().map_or(wait, |remaining| wait.min(remaining));
        let (until, place) = (Instant::now() + wait, self.waiting.try_acquire());
        let found = loop {
            let found = self.claims.request(&principal, id).await?;
            let may_wait = place.is_ok() && Instant::now() + PERIOD < until;
            if found.status != Status::Received || !may_wait {
                break found;
            }
            sleep(PERIOD).await;
        };
        Response::ok(GetRewardRequestResponse {
            reward_request: of_document::<RewardRequest>(&found)?.into(),
        })
    }
}

fn claimant(request: &ClaimRequest) -> Result<User, FieldError> {
    match &request.user {
        None => Ok(User::default()),
        Some(NamedUser::UserId(id)) => User::by_id(id),
        Some(NamedUser::ExternalUserId(external)) => User::by_external_id(external),
    }
}
