//! `meed.v1.ActivityService`.

use std::time::Duration;

use connectrpc::{ConnectError, InboundStream, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::{StreamExt as _, stream};
use meed_proto::v1::activity::User as NamedUser;
use meed_proto::v1::recorded_activity::Outcome;
use meed_proto::v1::{
    Activity, IngestError, IngestRequest, IngestResponse, RecordActivitiesRequest, RecordActivitiesResponse,
    RecordedActivity,
};
use tokio::time::timeout;

use super::message::{User, timestamp};
use super::refusal::{error_of, field_of};
use crate::activities::{
    ActivityService, Batch, IDLE, ItemOutcome, MAX_BATCH, MAX_STREAM_ERRORS, NewActivity, StreamPermit,
};
use crate::attributes::Attributes;
use crate::auth::{ActivitiesWrite, LongLived, Principal};
use crate::body::many;
use crate::correlation;
use crate::problem::{BODY_TIMEOUT, FieldError, Problem};

/// More activities than anyone has, and far from where counting overflows.
const MAX_AFTER: u64 = 1_000_000_000_000;

pub(super) struct Activities(pub(super) ActivityService);

impl meed_proto::v1::ActivityService for Activities {
    async fn record_activities(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, RecordActivitiesRequest>,
    ) -> ServiceResult<RecordActivitiesResponse> {
        let ActivitiesWrite(principal) = ActivitiesWrite::of(context.extensions())?;
        let (mut activities, mut errors) = (Vec::new(), Vec::new());
        for (index, activity) in request.to_owned_message().activities.into_iter().enumerate() {
            match reported(activity) {
                Ok(activity) => activities.push(activity),
                Err(error) => errors.push(many::at(index, &error)),
            }
        }
        if !errors.is_empty() {
            return Err(many::faults(errors).into());
        }
        let recorded = self.0.report(Batch::of(activities)?, &principal).await?;
        let items = recorded.items.into_iter().map(|item| RecordedActivity {
            source: item.source,
            id: item.id,
            outcome: match item.outcome {
                ItemOutcome::Recorded => Outcome::RECORDED.into(),
                ItemOutcome::Duplicate => Outcome::DUPLICATE.into(),
            },
        });
        Response::ok(RecordActivitiesResponse {
            recorded: count(recorded.recorded),
            duplicates: count(recorded.duplicates),
            items: items.collect(),
        })
    }

    async fn ingest(
        &self,
        context: RequestContext,
        requests: InboundStream<IngestRequest>,
    ) -> ServiceResult<ServiceStream<IngestResponse>> {
        let ActivitiesWrite(principal) = ActivitiesWrite::of(context.extensions())?;
        let ingestion = Ingestion {
            permit: self.0.open_stream(&principal, LongLived::of(context.extensions())?)?,
            service: self.0.clone(),
            by: principal,
            requests,
            told: None,
            told_errors: 0,
            request_id: correlation::current(),
        };
        let responses = stream::unfold(Some(ingestion), async |ingestion| {
            let mut ingestion = ingestion?;
            match ingestion.step().await {
                Ok(told) => Some((Ok(told?), Some(ingestion))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Response::stream(responses))
    }
}

/// A batch has at most [`MAX_BATCH`] activities.
fn count(activities: usize) -> u32 {
    u32::try_from(activities).unwrap_or(u32::MAX)
}

fn reported(activity: Activity) -> Result<NewActivity, FieldError> {
    let user = match &activity.user {
        None => User::default(),
        Some(NamedUser::UserId(id)) => User::by_id(id)?,
        Some(NamedUser::ExternalUserId(external)) => User::by_external_id(external)?,
    };
    let occurred_at = activity.occurred_at.as_option();
    Ok(NewActivity {
        source: activity.source,
        id: activity.id,
        user_id: user.id,
        external_user_id: user.external,
        kind: activity.kind,
        occurred_at: occurred_at.map(|at| timestamp(at, "occurredAt")).transpose()?,
        amount: activity.amount,
        attributes: Attributes::of(activity.attributes).map_err(|message| FieldError {
            pointer: "/attributes".to_owned(),
            message,
        })?,
    })
}

/// A stream that is being recorded.
struct Ingestion {
    service: ActivityService,
    by: Principal,
    requests: InboundStream<IngestRequest>,
    /// The last response, whose numbers the next one continues. `None` before the first part.
    told: Option<IngestResponse>,
    told_errors: u64,
    request_id: Option<String>,
    permit: StreamPermit,
}

impl Ingestion {
    /// Records the next part; `None` at the end of the stream.
    async fn step(&mut self) -> Result<Option<IngestResponse>, ConnectError> {
        let arrived = self.permit.while_valid(timeout(IDLE, self.requests.next())).await;
        let request = match arrived.map_err(|problem| self.error(problem))? {
            Ok(None) => return Ok(None),
            Ok(Some(request)) => request?.to_owned_message(),
            Err(_) => {
                let detail = format!("No part arrived within {} seconds.", Duration::as_secs(&IDLE));
                return Err(self.error(Problem::new(BODY_TIMEOUT, detail)));
            }
        };
        let told = self.record(request).await.map_err(|problem| self.error(problem))?;
        Ok(Some(told))
    }

    async fn record(&mut self, request: IngestRequest) -> Result<IngestResponse, Problem> {
        let mut told = match &self.told {
            Some(_) if request.after != 0 => {
                return Err(Problem::field(
                    "/after",
                    "is only allowed in the first message of a stream",
                ));
            }
            None if request.after > MAX_AFTER => {
                return Err(Problem::field(
                    "/after",
                    format!("is {}; send 0 to {MAX_AFTER}", request.after),
                ));
            }
            Some(told) => told.clone(),
            None => IngestResponse {
                through: request.after,
                ..IngestResponse::default()
            },
        };
        told.errors.clear();
        many::check_count(request.activities.len(), MAX_BATCH, "activities")?;
        let part = request.activities.into_iter().map(reported).collect();
        for outcome in self.service.report_part(part, &self.by).await? {
            told.through += 1;
            match outcome {
                Ok(ItemOutcome::Recorded) => told.recorded += 1,
                Ok(ItemOutcome::Duplicate) => told.duplicates += 1,
                Err(error) => {
                    told.rejected += 1;
                    if self.told_errors < MAX_STREAM_ERRORS {
                        self.told_errors += 1;
                        told.errors.push(IngestError {
                            position: told.through,
                            field: field_of(&error.pointer),
                            message: error.message,
                        });
                    }
                }
            }
        }
        self.told = Some(told.clone());
        Ok(told)
    }

    fn error(&self, problem: Problem) -> ConnectError {
        error_of(problem, self.request_id.clone())
    }
}
