//! `meed.v1.ClaimService`.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use meed_proto::v1::claim_request::User as NamedUser;
use meed_proto::v1::claim_response::Answer;
use meed_proto::v1::watch_reward_requests_request::User as WatchedUser;
use meed_proto::v1::watch_reward_requests_response::Change;
use meed_proto::v1::{
    ClaimRequest, ClaimResponse, GetRewardRequestRequest, GetRewardRequestResponse, RewardRequest,
    WatchRewardRequestRequest, WatchRewardRequestResponse, WatchRewardRequestsRequest, WatchRewardRequestsResponse,
};
use uuid::Uuid;

use super::message::{User, of_document, of_json, only_id, parsed, told};
use super::watches::{self, Source};
use crate::auth::{ClaimsWrite, LongLived, Principal};
use crate::claims::{self, ClaimAnswer, Claims, IdempotencyKey, RequestChanges, RequestEvent, Status};
use crate::problem::{FieldError, Problem};
use crate::watch::Closed;

pub(super) struct ClaimCalls(pub(super) Claims);

impl meed_proto::v1::ClaimService for ClaimCalls {
    async fn claim(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ClaimRequest>,
    ) -> ServiceResult<ClaimResponse> {
        let ClaimsWrite(principal) = ClaimsWrite::of(context.extensions())?;
        let request = request.to_owned_message();
        let user = claimant(&request).map_err(|error| Problem::fields(vec![error]))?;
        let key = request.idempotency_key.as_deref();
        let key: Option<IdempotencyKey> = parsed(key, str::parse, "idempotencyKey")?;
        let event_id = only_id(&request.event_id, "eventId")?;
        let claimed = self
            .0
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
        let found = self.0.request(&principal, id).await?;
        Response::ok(GetRewardRequestResponse {
            reward_request: of_document::<RewardRequest>(&found)?.into(),
        })
    }

    async fn watch_reward_request(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, WatchRewardRequestRequest>,
    ) -> ServiceResult<ServiceStream<WatchRewardRequestResponse>> {
        let principal = Principal::of(context.extensions())?;
        let long_lived = LongLived::of(context.extensions())?;
        let id = only_id(request.id, "id")?;
        let user_id = self.0.request(&principal, id).await?.user_id;
        let named = (Some(user_id), None);
        let (pass, changes) = self.0.watch_requests(&principal, long_lived, named, None).await?;
        // Read after the stream began, so that no change is missed.
        let now = Some(Box::new(self.0.request(&principal, id).await?));
        let is_decided = false;
        let one = OneRequest {
            id,
            now,
            is_decided,
            changes,
        };
        watches::respond(&context, &self.0, pass, one)
    }

    async fn watch_reward_requests(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, WatchRewardRequestsRequest>,
    ) -> ServiceResult<ServiceStream<WatchRewardRequestsResponse>> {
        let principal = Principal::of(context.extensions())?;
        let long_lived = LongLived::of(context.extensions())?;
        let request = request.to_owned_message();
        let user = match &request.user {
            None => Ok(User::default()),
            Some(WatchedUser::UserId(id)) => User::by_id(id),
            Some(WatchedUser::ExternalUserId(external)) => User::by_external_id(external),
        };
        let user = user.map_err(|error| Problem::fields(vec![error]))?;
        let since = parsed(request.cursor.as_deref(), str::parse, "cursor")?;
        let (pass, changes) = self
            .0
            .watch_requests(&principal, long_lived, user.named(), since)
            .await?;
        let all = AllRequests {
            has_begun: false,
            changes,
        };
        watches::respond(&context, &self.0, pass, all)
    }
}

/// One reward request until its decision.
struct OneRequest {
    id: Uuid,
    /// As it was when the stream began; not told yet.
    now: Option<Box<claims::RewardRequest>>,
    is_decided: bool,
    changes: RequestChanges,
}

impl Source for OneRequest {
    type Message = WatchRewardRequestResponse;

    async fn message(&mut self) -> Result<Option<WatchRewardRequestResponse>, Closed> {
        if self.is_decided {
            return Ok(None);
        }
        let request = loop {
            if let Some(now) = self.now.take() {
                break now;
            }
            match self.changes.next().await? {
                RequestEvent::Request(request) if request.id == self.id => break request,
                RequestEvent::Request(_) | RequestEvent::Reset => {}
            }
        };
        self.is_decided = !matches!(request.status, Status::Received | Status::Held);
        Ok(Some(WatchRewardRequestResponse {
            reward_request: told::<RewardRequest>(&request)?.into(),
        }))
    }

    fn close(&mut self, why: Closed) {
        self.changes.close(why);
    }
}

/// All reward requests of a user.
struct AllRequests {
    /// Whether the client knows where the stream begins.
    has_begun: bool,
    changes: RequestChanges,
}

impl Source for AllRequests {
    type Message = WatchRewardRequestsResponse;

    async fn message(&mut self) -> Result<Option<WatchRewardRequestsResponse>, Closed> {
        let change = if self.has_begun {
            Some(match self.changes.next().await? {
                RequestEvent::Reset => Change::Reset(Box::default()),
                RequestEvent::Request(request) => Change::RewardRequest(Box::new(told(&request)?)),
            })
        } else {
            self.has_begun = true;
            None
        };
        Ok(Some(WatchRewardRequestsResponse {
            change,
            cursor: self.changes.position(),
        }))
    }

    fn close(&mut self, why: Closed) {
        self.changes.close(why);
    }
}

fn claimant(request: &ClaimRequest) -> Result<User, FieldError> {
    match &request.user {
        None => Ok(User::default()),
        Some(NamedUser::UserId(id)) => User::by_id(id),
        Some(NamedUser::ExternalUserId(external)) => User::by_external_id(external),
    }
}
