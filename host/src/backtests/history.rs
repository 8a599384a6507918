//! Reads owners for the engine, some at a time, so that the memory is bounded for users with any number of rows.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::engine::{Claim, Owner, Recorded, stable_hash};
use super::error::BacktestError;
use super::state::Population;
use super::store::history::{self as store, ActivityRow, ClaimRow, UserRow};
use super::terms::Terms;
use crate::clock::Timestamp;
use crate::contract::{Query, Subject};
use crate::db::Db;
use crate::facts::kernel::{Activity, AttributeChange, Invitee, Log};

/// Users that are read together.
const USERS: i64 = 64;
/// The most activities of these users and their invitees, and the most claims and invitees. If there are more, the users
/// are read one by one; a user with more is skipped.
pub(super) const MAX_ROWS: usize = 200_000;

/// The database as a backtest sees it.
pub(super) struct History {
    pub db: Db,
    pub terms: Terms,
    pub sample_through: Option<i64>,
}

/// The next users.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The last of them.
    pub through: Uuid,
    pub seen: u64,
    pub owners: Vec<Owner>,
    pub skipped: Vec<(Uuid, &'static str)>,
}

/// The users have more rows than are read at once.
struct TooMany;

impl History {
    /// Reads the users after one id and up to another; `None`: there are no more.
    pub(super) async fn read(&self, after: Uuid, through: Uuid) -> Result<Option<Chunk>, BacktestError> {
        // Who registered later was not there.
        let through = through.min(self.terms.to.first_id());
        let rows = store::users(&self.db, after, through, USERS).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let mut chunk = Chunk {
            through: last.id,
            ..Chunk::default()
        };
        let mut users = Vec::new();
        for row in rows {
            let is_sampled = self.sample_through.is_none_or(|through| stable_hash(row.id) <= through);
            if !is_sampled {
                continue;
            }
            chunk.seen += 1;
            match self.reason_to_skip(&row) {
                Some(reason) => chunk.skipped.push((row.id, reason)),
                None => users.push(row),
            }
        }
        match self.load(&users).await? {
            Ok(owners) => self.keep(owners, &mut chunk),
            Err(TooMany) => {
                for user in users {
                    match self.load(std::slice::from_ref(&user)).await? {
                        Ok(owners) => self.keep(owners, &mut chunk),
                        Err(TooMany) => chunk.skipped.push((user.id, "too-many-activities")),
                    }
                }
            }
        }
        Ok(Some(chunk))
    }

    fn keep(&self, owners: Vec<Owner>, chunk: &mut Chunk) {
        let period = self.terms.from..self.terms.to;
        for owner in owners {
            let mut claims = owner.claims.iter();
            let has_claims = claims.any(|claim| period.contains(&claim.received_at));
            if !has_claims && self.terms.population == Population::Claimants {
                chunk.skipped.push((owner.id, "no-claims"));
            } else {
                chunk.owners.push(owner);
            }
        }
    }

    fn reason_to_skip(&self, row: &UserRow) -> Option<&'static str> {
        if row.erased {
            Some("erased")
        } else if row.role != "USER" {
            Some("staff")
        } else if row.created_at >= self.terms.to {
            Some("registered-later")
        } else {
            None
        }
    }

    #[expect(clippy::too_many_lines, reason = "one read of each kind of row")]
    async fn load(&self, users: &[UserRow]) -> Result<Result<Vec<Owner>, TooMany>, BacktestError> {
        #[expect(clippy::cast_possible_wrap, reason = "200,000")]
        const LIMIT: i64 = MAX_ROWS as i64 + 1;
        let (db, terms) = (&self.db, &self.terms);
        let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
        if ids.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let mut claims = store::claims(db, &ids, terms.event_id, terms.stock_at, LIMIT).await?;
        let grants = store::grants(db, &ids, terms.event_id, LIMIT).await?;
        let group = match &terms.group {
            Some(group) => store::group_grants(db, &ids, &group.name, terms.event_id, LIMIT).await?,
            None => Vec::new(),
        };
        let names: BTreeSet<String> = terms
            .queries()
            .filter_map(|query| match query {
                Query::Attribute(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        let attributes = if names.is_empty() {
            Vec::new()
        } else {
            store::attributes(db, &ids, &names, terms.to, LIMIT).await?
        };
        let activities = self.activities(&ids, Subject::Claimant, LIMIT).await?;
        let invitees = if terms.kinds(Subject::Invitees).is_empty() {
            Vec::new()
        } else {
            store::invitees(db, &ids, LIMIT).await?
        };
        let lengths = [
            claims.len(),
            grants.len(),
            group.len(),
            attributes.len(),
            activities.len(),
            invitees.len(),
        ];
        if lengths.iter().sum::<usize>() > MAX_ROWS {
            return Ok(Err(TooMany));
        }
        let mut invited_by: BTreeMap<Uuid, Vec<Invitee>> = BTreeMap::new();
        let mut left = LIMIT - i64::try_from(activities.len()).unwrap_or(LIMIT);
        for some in invitees.chunks(256) {
            let ids: Vec<Uuid> = some.iter().map(|(_, id, _)| *id).collect();
            let rows = self.activities(&ids, Subject::Invitees, left).await?;
            left -= i64::try_from(rows.len()).unwrap_or(left);
            if left <= 0 {
                return Ok(Err(TooMany));
            }
            let mut by_user = by_user(rows);
            for (inviter, id, registered) in some {
                let activities = by_user.remove(id).unwrap_or_default();
                let registered = *registered;
                invited_by
                    .entry(*inviter)
                    .or_default()
                    .push(Invitee { registered, activities });
            }
        }
        let mut by_user = by_user(activities);
        let mut owners: Vec<Owner> = users
            .iter()
            .map(|user| Owner {
                id: user.id,
                registered: user.created_at,
                invited: user.invited_by.is_some(),
                log: Log {
                    activities: by_user.remove(&user.id).unwrap_or_default(),
                    invitees: invited_by.remove(&user.id).unwrap_or_default(),
                    attributes: Vec::new(),
                    grants: Vec::new(),
                },
                claims: Vec::new(),
                group: Vec::new(),
            })
            .collect();
        let index: BTreeMap<Uuid, usize> = users.iter().enumerate().map(|(at, user)| (user.id, at)).collect();
        let mut awards: BTreeMap<Uuid, Vec<(Uuid, u32)>> = BTreeMap::new();
        for (request, reward, quantity) in grants {
            let quantity = u32::try_from(quantity).unwrap_or(u32::MAX);
            awards.entry(request).or_default().push((reward, quantity));
        }
        // An id begins with the arrival.
        claims.sort_by_key(|row| row.id);
        for row in claims {
            let Some(owner) = index.get(&row.user_id) else { continue };
            let awards = awards.remove(&row.id).unwrap_or_default();
            owners[*owner].claims.extend(claim(row, awards, terms.stock_at));
        }
        for row in attributes {
            let Some(owner) = index.get(&row.user_id) else { continue };
            owners[*owner].log.attributes.push(AttributeChange {
                name: row.name,
                set_at: row.set_at,
                value: row.value,
            });
        }
        for (user_id, granted, reversed) in group {
            let Some(owner) = index.get(&user_id) else { continue };
            owners[*owner].group.push((granted, reversed));
        }
        Ok(Ok(owners))
    }

    async fn activities(&self, ids: &[Uuid], subject: Subject, limit: i64) -> Result<Vec<ActivityRow>, BacktestError> {
        let kinds = self.terms.kinds(subject);
        if kinds.is_empty() || ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store::activities(&self.db, ids, &kinds, self.terms.to, limit).await?)
    }
}

fn by_user(rows: Vec<ActivityRow>) -> BTreeMap<Uuid, Vec<Activity>> {
    let mut by_user: BTreeMap<Uuid, Vec<Activity>> = BTreeMap::new();
    for row in rows {
        by_user.entry(row.user_id).or_default().push(Activity {
            kind: row.kind,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            amount: row.amount,
            attributes: row.attributes.0,
        });
    }
    by_user
}

/// `None`: it is not decided. `until`: later reversals do not count.
fn claim(row: ClaimRow, awards: Vec<(Uuid, u32)>, until: Timestamp) -> Option<Claim> {
    let recorded = match row.status.as_str() {
        "GRANTED" | "REVERSED" => Recorded::Granted,
        "HELD" => Recorded::Held,
        "REJECTED" => Recorded::Rejected,
        "FAILED" => Recorded::Failed,
        _ => return None,
    };
    Some(Claim {
        received_at: row.received_at,
        recorded,
        plugin: row.plugin_digest,
        period: row.period,
        slot: u32::try_from(row.slot).unwrap_or(u32::MAX),
        reversed_at: row.reversed_at.filter(|at| *at <= until),
        review: row.review.map(|review| review.0.outcome),
        awards,
        amount: row.budget_amount.unwrap_or(0),
    })
}
