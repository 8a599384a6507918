//! `meed.v1.EventService`.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use meed_proto::v1::{Event, GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse};

use super::message::{of_document, only_id, page, timestamp};
use crate::auth::EventsRead;
use crate::events::{EventService, Filter};
use crate::http::Page;
use crate::problem::Problem;

pub(super) struct EventCalls(pub(super) EventService);

impl meed_proto::v1::EventService for EventCalls {
    async fn get_event(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetEventRequest>,
    ) -> ServiceResult<GetEventResponse> {
        let EventsRead(_) = EventsRead::of(context.extensions())?;
        let event = self.0.get(only_id(request.id, "id")?).await.map_err(Problem::from)?;
        Response::ok(GetEventResponse {
            event: of_document::<Event>(&event)?.into(),
        })
    }

    async fn list_events(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListEventsRequest>,
    ) -> ServiceResult<ListEventsResponse> {
        let EventsRead(_) = EventsRead::of(context.extensions())?;
        let request = request.to_owned_message();
        let page = page(request.page_size, request.page_token.as_deref());
        let (size, after) = (page.size()?, page.after()?);
        let at = request.at.as_option().map(|at| timestamp(at, "at")).transpose();
        let filter = Filter {
            name: request.name,
            is_active: request.is_active,
            tag: request.tag,
            plugin: request.plugin,
            version: request.version,
            at: at.map_err(|error| Problem::fields(vec![error]))?,
        };
        let events = self.0.list(filter, after, size).await.map_err(Problem::from)?;
        let events = Page::new(events, size, |event| event.id, |event| event);
        Response::ok(of_document(&events)?)
    }
}
