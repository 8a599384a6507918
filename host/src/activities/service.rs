//! Rules for activities: times, users, and idempotent recording.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::open_streams::OpenStreams;
use super::report::{NewActivity, OWN_SOURCE};
use super::store::{self, ActivityRow};
use super::users::named_users;
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Json, Tx};
use crate::directory::{Directory, UserRef};
use crate::facts::{self, FactReader, TooOld};
use crate::watch::Watch;

/// How far `occurredAt` may be ahead of the server's clock.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// An activity that the server records itself.
#[derive(Clone, Debug)]
pub struct OwnActivity {
    pub user_id: Uuid,
    pub kind: &'static str,
    /// Repeating an id records nothing.
    pub source_id: String,
    pub occurred_at: Timestamp,
    pub attributes: BTreeMap<String, String>,
}

/// A recorded activity.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The order among activities with the same `occurred_at`.
    #[serde(skip)]
    pub key: Uuid,
    #[schema(example = "shop")]
    pub source: String,
    #[schema(example = "order-1047")]
    pub id: String,
    pub user_id: Uuid,
    #[schema(example = "shop.purchase")]
    pub kind: String,
    pub occurred_at: Timestamp,
    #[schema(example = 2500)]
    pub amount: Option<i64>,
    #[schema(example = json!({"category": "hats", "items": "2", "gift": "false"}))]
    pub attributes: BTreeMap<String, String>,
    pub recorded_at: Timestamp,
    /// The user or service key that reported it; left out for the server, for a topic, and for USERs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<Uuid>,
}

impl From<ActivityRow> for Activity {
    fn from(row: ActivityRow) -> Self {
        Self {
            key: row.id,
            source: row.source,
            id: row.source_id,
            user_id: row.user_id,
            kind: row.kind,
            occurred_at: row.occurred_at,
            amount: row.amount,
            attributes: row.attributes.0,
            recorded_at: row.recorded_at,
            reported_by: row.reported_by,
        }
    }
}

/// The result of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The number of new activities
    #[schema(example = 1)]
    pub recorded: usize,
    /// The number of activities that were recorded before with the same content
    #[schema(example = 0)]
    pub duplicates: usize,
    /// One item per activity of the call, in the same order
    pub items: Vec<RecordedItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedItem {
    #[schema(example = "shop")]
    pub source: String,
    #[schema(example = "order-1047")]
    pub id: String,
    pub outcome: ItemOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ItemOutcome {
    Recorded,
    Duplicate,
}

/// An error of one activity of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemError {
    pub index: usize,
    /// The field's name in JSON.
    pub field: &'static str,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    #[error("None was recorded, because of invalid activities: {}.", .0.len())]
    Invalid(Vec<ItemError>),
    #[error("None was recorded. Activities that reuse a source and id with different content: {}. Send them with new ids, or omit them.", .0.len())]
    Conflict(Vec<ItemError>),
    #[error("None was recorded. Activities with a source that your service key may not use: {}. Use a source of the key, or ask an ADMIN to change the key.", .0.len())]
    SourceNotAllowed(Vec<ItemError>),
    #[error("None was recorded. Activities with a source that belongs to another principal: {}. Use a source of your own, or ask an ADMIN for the source (PUT /activity-sources/{{source}}/owner).", .0.len())]
    SourceTaken(Vec<ItemError>),
    #[error("There is no user {0}.")]
    NoSuchUser(UserRef),
    #[error("there is no user {0}")]
    NoSuchOwner(Uuid),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Filters a user's activities: `from` inclusive, `to` exclusive.
#[derive(Debug, Default)]
pub struct Filter {
    pub kind: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct ActivityService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) directory: Directory,
    /// Whether an activity of an unknown external id creates the user.
    pub(super) creates_users: bool,
    pub(super) streams: OpenStreams,
    pub(super) watch: Watch,
    facts: FactReader,
}

impl ActivityService {
    pub fn new(
        (db, clock): (Db, Clock),
        directory: Directory,
        creates_users: bool,
        (watch, facts): (Watch, FactReader),
    ) -> Self {
        Self {
            db,
            clock,
            facts,
            directory,
            creates_users,
            streams: OpenStreams::new(),
            watch,
        }
    }

    /// Records all activities, or none if one of them is invalid. `by` is the principal that reports them; `None` for a
    /// topic.
    pub async fn record(&self, activities: Vec<NewActivity>, by: Option<Uuid>) -> Result<Recorded, ActivityError> {
        let now = self.clock.now();
        check_times(&activities, now)?;
        let named = named_users(&activities)?;
        let found = self.directory.ids_of(&named).await?;
        let mut tx = self.db.begin().await?;
        let users = self.check_users(&mut tx, &named, found).await?;
        self.take_sources(&mut tx, &activities, by, now).await?;
        let mut rows: Vec<ActivityRow> = activities
            .iter()
            .zip(&users)
            .map(|(activity, user)| self.row(activity, *user, now, by))
            .collect();
        let order: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        // A fixed insertion order prevents deadlocks between concurrent calls with the same activities.
        rows.sort_by(|a, b| (&a.source, &a.source_id).cmp(&(&b.source, &b.source_id)));
        // Of two with the same source and id in one call, the first is recorded.
        let mut distinct = rows.clone();
        distinct.dedup_by(|b, a| (&a.source, &a.source_id) == (&b.source, &b.source_id));
        let inserted = store::insert(&mut tx, &distinct).await?;
        let added: HashSet<Uuid> = inserted.keys().copied().collect();
        if added.len() < rows.len() {
            rows.retain(|row| !added.contains(&row.id));
            check_same(
                &activities,
                &users,
                &order,
                &added,
                store::recorded(&mut tx, &rows).await?,
            )?;
        }
        if !added.is_empty() {
            distinct.retain(|row| added.contains(&row.id));
            let too_old = self.facts.take_in(&mut tx, &entries(&distinct, &inserted), now).await?;
            check_horizons(&activities, &order, too_old)?;
            let acting = distinct.iter().map(|row| row.user_id).collect();
            self.credit_inviters(&mut tx, acting, now).await?;
        }
        tx.commit().await?;
        let acting = distinct.iter().filter(|row| added.contains(&row.id));
        self.watch.touch(acting.map(|row| row.user_id));
        let items = activities.into_iter().zip(order).map(|(activity, id)| RecordedItem {
            source: activity.source,
            id: activity.id,
            outcome: if added.contains(&id) {
                ItemOutcome::Recorded
            } else {
                ItemOutcome::Duplicate
            },
        });
        let items: Vec<RecordedItem> = items.collect();
        Ok(Recorded {
            recorded: added.len(),
            duplicates: items.len() - added.len(),
            items,
        })
    }

    /// Records an activity of the server itself, once per `source_id`. Part of the caller's transaction.
    pub async fn record_own(&self, tx: &mut Tx, activity: OwnActivity) -> Result<(), ActivityError> {
        let row = ActivityRow {
            id: self.clock.new_id(),
            source: OWN_SOURCE.to_owned(),
            source_id: activity.source_id,
            user_id: activity.user_id,
            kind: activity.kind.to_owned(),
            amount: None,
            attributes: Json(activity.attributes),
            occurred_at: activity.occurred_at,
            recorded_at: self.clock.now(),
            reported_by: None,
        };
        let (rows, now) = ([row], self.clock.now());
        let inserted = store::insert(tx, &rows).await?;
        if !inserted.is_empty() {
            // The server records what happens now.
            self.facts.take_in(tx, &entries(&rows, &inserted), now).await?;
        }
        Ok(())
    }

    /// The id of the user that a request names.
    pub(super) async fn id_of(&self, user: UserRef) -> Result<Uuid, ActivityError> {
        let found = self.directory.id_of(&user).await?;
        found.ok_or(ActivityError::NoSuchUser(user))
    }

    /// Newest first. Returns up to `size + 1` activities, so that the caller knows whether more exist.
    pub async fn history(
        &self,
        user_id: Uuid,
        filter: Filter,
        after: Option<(Timestamp, Uuid)>,
        size: u32,
    ) -> Result<Vec<Activity>, ActivityError> {
        let now = self.clock.now();
        let begin = filter.from.unwrap_or_else(|| now.minus(Duration::MAX));
        let end = filter.to.unwrap_or_else(|| now.plus(Duration::MAX));
        // With the lowest id as the second part of the key, `end` is exclusive.
        let before = after.map_or((end, Uuid::nil()), |after| after.min((end, Uuid::nil())));
        let limit = i64::from(size) + 1;
        let rows = store::list(&self.db, user_id, filter.kind, begin, before, limit).await?;
        if rows.is_empty() && !store::is_user(&self.db, user_id).await? {
            return Err(ActivityError::NoSuchUser(user_id.into()));
        }
        Ok(rows.into_iter().map(Activity::from).collect())
    }

    fn row(&self, activity: &NewActivity, user_id: Uuid, now: Timestamp, by: Option<Uuid>) -> ActivityRow {
        ActivityRow {
            id: self.clock.new_id(),
            source: activity.source.clone(),
            source_id: activity.id.clone(),
            user_id,
            kind: activity.kind.clone(),
            amount: activity.amount,
            attributes: Json(activity.attributes.0.clone()),
            occurred_at: activity.occurred_at.unwrap_or(now),
            recorded_at: now,
            reported_by: by,
        }
    }
}

/// The entries of inserted rows, with the inviters of their users.
fn entries<'a>(rows: &'a [ActivityRow], inviters: &HashMap<Uuid, Option<Uuid>>) -> Vec<facts::Entry<'a>> {
    rows.iter()
        .map(|row| facts::Entry {
            user_id: row.user_id,
            inviter: inviters.get(&row.id).copied().flatten(),
            kind: &row.kind,
            at: row.occurred_at,
            id: row.id,
            amount: row.amount,
            attributes: &row.attributes.0,
        })
        .collect()
}

fn check_times(activities: &[NewActivity], now: Timestamp) -> Result<(), ActivityError> {
    let latest = now.plus(MAX_AHEAD);
    require_none(activities.iter().enumerate().filter_map(|(index, activity)| {
        let at = activity.occurred_at?;
        let message = if at > latest {
            format!("{at} is more than five minutes ahead of the server's clock ({now})")
        } else if at.as_millis() < 0 {
            format!("{at} is before 1970")
        } else {
            return None;
        };
        Some(ItemError {
            index,
            field: "occurredAt",
            message,
        })
    }))
    .map_err(ActivityError::Invalid)
}

/// Refuses activities of a time whose activities are compacted.
fn check_horizons(activities: &[NewActivity], ids: &[Uuid], too_old: Vec<TooOld>) -> Result<(), ActivityError> {
    let by_id: HashMap<Uuid, TooOld> = too_old.into_iter().map(|too_old| (too_old.id, too_old)).collect();
    require_none(activities.iter().zip(ids).enumerate().filter_map(|(index, (activity, id))| {
        let TooOld { until, .. } = by_id.get(id)?;
        let (at, kind) = (activity.occurred_at?, &activity.kind);
        Some(ItemError {
            index,
            field: "occurredAt",
            message: format!(
                "{at} is before {until}; activities of the kind {kind:?} before then are compacted, and none can be added"
            ),
        })
    }))
    .map_err(ActivityError::Invalid)
}

/// An activity that was recorded before must have the same content now.
fn check_same(
    activities: &[NewActivity],
    users: &[Uuid],
    ids: &[Uuid],
    added: &HashSet<Uuid>,
    recorded: Vec<ActivityRow>,
) -> Result<(), ActivityError> {
    let recorded: HashMap<(String, String), ActivityRow> = recorded
        .into_iter()
        .map(|row| ((row.source.clone(), row.source_id.clone()), row))
        .collect();
    let candidates = activities.iter().zip(users).zip(ids).enumerate();
    require_none(
        candidates
            .filter(|(_, (_, id))| !added.contains(id))
            .filter_map(|(index, ((activity, user), _))| {
                let key = (activity.source.clone(), activity.id.clone());
                let field = difference(activity, *user, recorded.get(&key)?)?;
                let (source, id) = key;
                let message = format!("{source} reported {id:?} before with a different {field}");
                Some(ItemError { index, field, message })
            }),
    )
    .map_err(ActivityError::Conflict)
}

/// The first field that differs. A missing `occurredAt` equals every recorded time.
fn difference(activity: &NewActivity, user_id: Uuid, row: &ActivityRow) -> Option<&'static str> {
    let member = match activity.external_user_id {
        Some(_) => "externalUserId",
        None => "userId",
    };
    [
        (member, user_id == row.user_id),
        ("kind", activity.kind == row.kind),
        (
            "occurredAt",
            activity.occurred_at.is_none_or(|at| at == row.occurred_at),
        ),
        ("amount", activity.amount == row.amount),
        ("attributes", activity.attributes.0 == row.attributes.0),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// `Ok` if there are no errors.
pub(super) fn require_none(errors: impl Iterator<Item = ItemError>) -> Result<(), Vec<ItemError>> {
    let errors: Vec<ItemError> = errors.collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
