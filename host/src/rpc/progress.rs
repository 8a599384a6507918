//! `meed.v1.ProgressService`.

use buffa_types::google::protobuf::Timestamp;
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use meed_proto::v1::get_progress_request::User as NamedUser;
use meed_proto::v1::watch_progress_request::User as WatchedUser;
use meed_proto::v1::{
    EventProgress, GetProgressRequest, GetProgressResponse, ListActiveEventsRequest, ListActiveEventsResponse,
    WatchProgressRequest, WatchProgressResponse,
};

use super::message::{User, of_document, only_id, page, parsed, timestamp, told};
use super::watches::{self, Source};
use crate::auth::{ClaimsRead, LongLived, Principal, Scope};
use crate::claims::{Claims, ProgressChanges, ProgressId};
use crate::events::EventService;
use crate::http::Page;
use crate::problem::Problem;
use crate::watch::Closed;

pub(super) struct ProgressCalls {
    pub(super) claims: Claims,
    pub(super) events: EventService,
}

impl meed_proto::v1::ProgressService for ProgressCalls {
    async fn get_progress(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetProgressRequest>,
    ) -> ServiceResult<GetProgressResponse> {
        let principal = Principal::of(context.extensions())?.require_either(Scope::ClaimsRead, Scope::AuditRead)?;
        let request = request.to_owned_message();
        let user = match &request.user {
            None => Ok(User::default()),
            Some(NamedUser::UserId(id)) => User::by_id(id),
            Some(NamedUser::ExternalUserId(external)) => User::by_external_id(external),
        };
        let user = user.map_err(|error| Problem::fields(vec![error]))?;
        let instant = |at: Option<&Timestamp>, member| {
            let at = at.map(|at| timestamp(at, member)).transpose();
            at.map_err(|error| Problem::fields(vec![error]))
        };
        let instants = (
            instant(request.as_of.as_option(), "asOf")?,
            instant(request.known_by.as_option(), "knownBy")?,
        );
        let event_id = only_id(&request.event_id, "eventId")?;
        let progress = self
            .claims
            .progress(&principal, user.named(), event_id, instants)
            .await?;
        Response::ok(GetProgressResponse {
            progress: of_document::<EventProgress>(&progress)?.into(),
        })
    }

    async fn watch_progress(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, WatchProgressRequest>,
    ) -> ServiceResult<ServiceStream<WatchProgressResponse>> {
        let ClaimsRead(principal) = ClaimsRead::of(context.extensions())?;
        let long_lived = LongLived::of(context.extensions())?;
        let request = request.to_owned_message();
        let user = match &request.user {
            None => Ok(User::default()),
            Some(WatchedUser::UserId(id)) => User::by_id(id),
            Some(WatchedUser::ExternalUserId(external)) => User::by_external_id(external),
        };
        let user = user.map_err(|error| Problem::fields(vec![error]))?;
        let event_id = only_id(&request.event_id, "eventId")?;
        let since = parsed(request.cursor.as_deref(), ProgressId::parse, "cursor")?;
        let (pass, changes) = self
            .claims
            .watch_progress(&principal, long_lived, user.named(), event_id, since)
            .await?;
        watches::respond(&context, &self.claims, pass, changes)
    }

    async fn list_active_events(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListActiveEventsRequest>,
    ) -> ServiceResult<ListActiveEventsResponse> {
        let ClaimsRead(_) = ClaimsRead::of(context.extensions())?;
        let page = page(request.page_size, request.page_token);
        let (size, after) = (page.size()?, page.after()?);
        let events = self.events.active(after, size).await.map_err(Problem::from)?;
        let events = Page::new(events, size, |event| event.id, |event| event);
        Response::ok(of_document(&events)?)
    }
}

impl Source for ProgressChanges {
    type Message = WatchProgressResponse;

    async fn message(&mut self) -> Result<Option<WatchProgressResponse>, Closed> {
        let (id, progress) = self.next().await?;
        Ok(Some(WatchProgressResponse {
            progress: told::<EventProgress>(&progress)?.into(),
            cursor: Some(id.as_str().to_owned()),
        }))
    }

    fn close(&mut self, why: Closed) {
        Self::close(self, why);
    }
}
