//! Simulations: runs a plugin without storing anything, with the facts of a user as of a timestamp, or with given
//! facts.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::lifecycle::PluginState;
use super::service::{PluginError, PluginService};
use super::stand_in::StandIn;
use crate::clock::{Clock, Timestamp};
use crate::contract::{Context, Decision, EventInfo, Fact, Query, RewardInfo, UserInfo};
use crate::directory::{Directory, ExternalId, UserRef};
use crate::exact_json;
use crate::facts::{self, FactContext, FactError, FactReader, Instants, Period, Plan, Zone};

/// The input of a simulation. Send either a user or `facts`.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "params": {"days": 7},
    "facts": [{"days": {"current": 5, "longest": 5, "lastDay": "2026-03-01"}}],
    "asOf": "2026-03-01T09:30:00Z",
    "timeZone": "Asia/Seoul",
}))]
pub struct SimulationRequest {
    #[garde(skip)]
    #[serde(deserialize_with = "exact_json::value")]
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
    /// The user whose facts to use
    #[garde(skip)]
    pub user_id: Option<Uuid>,
    /// The user by the external id, instead of `userId`
    #[garde(skip)]
    #[schema(nullable = false)]
    pub external_user_id: Option<ExternalId>,
    /// Facts in the order of the plan's queries, instead of those of a user
    #[garde(length(max = facts::MAX_QUERIES))]
    pub facts: Option<Vec<Fact>>,
    /// The `now` of the decision: what happened later does not count; the default is the current time
    #[garde(skip)]
    pub as_of: Option<Timestamp>,
    /// What was recorded after this instant does not count; the default, and the latest, is the current time. Only for the
    /// facts of a user
    #[garde(skip)]
    pub known_by: Option<Timestamp>,
    /// An IANA name; the default is UTC
    #[garde(length(bytes, min = 1, max = 64))]
    #[serde(default = "utc")]
    #[schema(example = "Asia/Seoul", default = "UTC")]
    pub time_zone: String,
    /// The id of the event, whose grants to the user count; the default is a new id
    #[garde(skip)]
    pub event_id: Option<Uuid>,
    /// The event's title; the default is an ordinary one
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "7-day login streak", min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// The event's start; the default is about a month before `asOf`
    #[garde(skip)]
    pub start_date: Option<Timestamp>,
    /// The event's end; the default is about a month after `asOf`
    #[garde(skip)]
    pub end_date: Option<Timestamp>,
    /// The event's rewards, as the plugin sees them
    #[garde(length(max = 32))]
    #[serde(default)]
    pub rewards: Vec<RewardInfo>,
    /// 64 hexadecimal digits; the default is random, and the response's `context` shows it
    #[garde(skip)]
    #[serde(default, deserialize_with = "seed")]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{64}$")]
    pub seed: Option<[u8; 32]>,
}

/// The input, the result and the cost of a simulation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// Absent if the plugin failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why there is no decision
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<SimulationFailure>,
    /// `context.now`
    pub as_of: Timestamp,
    /// The facts count what was recorded until then; absent if the request had the facts
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_by: Option<Timestamp>,
    pub context: Context,
    pub queries: Vec<Query>,
    pub facts: Vec<Fact>,
    pub fuel: u64,
    /// The peak of linear memory
    pub memory_bytes: u64,
    pub elapsed_microseconds: u64,
    /// The notes that the plugin logged for its author
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulationFailure {
    #[schema(example = "out-of-fuel")]
    pub code: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Facts(#[from] FactError),
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct Simulator {
    facts: FactReader,
    clock: Clock,
    directory: Directory,
    plugins: PluginService,
}

const MONTH: Duration = Duration::from_hours(30 * 24);
const KNOWN_BY_WITH_FACTS: &str = "the facts are given, so none is read; omit it";
const USER_OR_FACTS: &str = "send either a user (userId or externalUserId) or facts";

impl Simulator {
    pub fn new((facts, clock): (FactReader, Clock), directory: Directory, plugins: PluginService) -> Self {
        Self {
            facts,
            clock,
            directory,
            plugins,
        }
    }

    /// The user that a request names, and the pointer to the member that does so.
    async fn named_user(
        &self,
        user_id: Option<Uuid>,
        external: Option<ExternalId>,
    ) -> Result<Option<(Uuid, &'static str)>, SimulationError> {
        if user_id.is_none() && external.is_none() {
            return Ok(None);
        }
        let named = UserRef::of_members(user_id, external.as_ref());
        let named = named.map_err(|error| field("/externalUserId", error.message))?;
        let pointer = match named {
            UserRef::Id(_) => "/userId",
            UserRef::External(_) => "/externalUserId",
        };
        let found = self.directory.id_of(&named).await.map_err(FactError::from)?;
        let id = found.ok_or_else(|| field(pointer, format!("there is no user {named}")))?;
        Ok(Some((id, pointer)))
    }

    #[expect(clippy::too_many_lines, reason = "one path from the request to the answer")]
    pub async fn simulate(
        &self,
        name: &str,
        version: &str,
        request: SimulationRequest,
    ) -> Result<Simulation, SimulationError> {
        let zone: Zone = request
            .time_zone
            .parse()
            .map_err(|error: facts::UnknownZone| field("/timeZone", error.to_string()))?;
        let found = self.plugins.version(name, version).await?;
        // One in quarantine may be simulated: that is how its fault is found.
        if found.state == PluginState::Disabled {
            let (name, version, state) = (found.name, found.version, found.state);
            return Err(PluginError::NotActive { name, version, state }.into());
        }
        let bound = self.plugins.bind_version(found, &request.params).await?;
        let clock_now = self.clock.now();
        let instants = Instants::asked(request.as_of, request.known_by, clock_now);
        let instants = instants.map_err(|error| field("/knownBy", error.to_string()))?;
        let now = instants.as_of;
        // A plugin must not be able to tell a simulation from a claim and answer differently.
        let stand_in = StandIn::new(self.clock.random());
        let starts = request.start_date;
        let starts = starts.unwrap_or_else(|| stand_in.hour_before("starts", now.minus(MONTH)));
        let ends = request.end_date;
        let ends = ends.unwrap_or_else(|| stand_in.hour_before("ends", now.plus(MONTH)));
        let event_id = request.event_id.unwrap_or_else(|| stand_in.id("event", starts));
        let named = self.named_user(request.user_id, request.external_user_id).await?;
        let known_by = named.map(|_| instants.known_by.unwrap_or(clock_now));
        let (user, facts) = match (named, request.facts) {
            (Some((user_id, pointer)), None) => {
                let context = FactContext {
                    user_id,
                    event_id,
                    event_starts: starts,
                    zone: &zone,
                    period: Period::Once,
                    budget: None,
                    group: None,
                    instants,
                };
                let snapshot = self
                    .facts
                    .gather(&context, &bound.plan)
                    .await
                    .map_err(|error| about_user(pointer, error))?;
                (
                    UserInfo {
                        id: user_id.to_string(),
                        registered: snapshot.registered,
                    },
                    snapshot.facts,
                )
            }
            (None, Some(facts)) => {
                check_given(&facts, &bound.plan, request.known_by)?;
                let registered = stand_in.registered_before(starts);
                (
                    UserInfo {
                        id: stand_in.id("user", registered).to_string(),
                        registered,
                    },
                    facts,
                )
            }
            _ => return Err(field("", USER_OR_FACTS.to_owned())),
        };
        let context = Context {
            now,
            local: zone.local(now),
            offsets: zone.offsets(now),
            time_zone: zone.name().to_owned(),
            event: EventInfo {
                id: event_id.to_string(),
                title: request.title.unwrap_or_else(|| stand_in.title()),
                starts,
                ends,
            },
            user,
            rewards: request.rewards,
            seed: request.seed.unwrap_or_else(|| stand_in.seed()),
        };
        let (call, _) = self.plugins.evaluate(&bound, &context, &facts).await?;
        let (decision, failure) = match call.outcome {
            Ok(decision) => (Some(decision), None),
            Err(failure) => (
                None,
                Some(SimulationFailure {
                    code: failure.code().to_owned(),
                    message: failure.to_string(),
                }),
            ),
        };
        Ok(Simulation {
            decision,
            failure,
            as_of: now,
            known_by,
            context,
            queries: bound.plan.into(),
            facts,
            fuel: call.fuel,
            memory_bytes: call.memory as u64,
            elapsed_microseconds: u64::try_from(call.elapsed.as_micros()).unwrap_or(u64::MAX),
            notes: call.notes,
        })
    }
}

/// The facts of a request that names no user.
fn check_given(facts: &[Fact], plan: &Plan, known_by: Option<Timestamp>) -> Result<(), SimulationError> {
    if known_by.is_some() {
        return Err(field("/knownBy", KNOWN_BY_WITH_FACTS.to_owned()));
    }
    let queries = plan.queries().len();
    if facts.len() != queries {
        let message = format!("there are {} facts, but the plan has {queries} queries", facts.len());
        return Err(field("/facts", message));
    }
    Ok(())
}

fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
    hex::serde::deserialize(deserializer).map(Some)
}

/// The facts of the user cannot be read; `pointer` names the user.
fn about_user(pointer: &'static str, error: FactError) -> SimulationError {
    match error {
        FactError::NoSuchUser(_) | FactError::TooLarge(_) | FactError::Overflow => field(pointer, error.to_string()),
        FactError::Compacted(_) | FactError::Db(_) => error.into(),
    }
}

fn field(pointer: &'static str, message: String) -> SimulationError {
    SimulationError::Field { pointer, message }
}

fn utc() -> String {
    "UTC".to_owned()
}
