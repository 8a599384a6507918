//! Users whom other systems know by an external id: creates them, and sets their attributes, one or many in a call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::replacement::Replacement;
use super::store::{self, attributes};
use super::{UserDetails, UserError, UserService};
use crate::attributes::Attributes;
use crate::audit::{self, Entry};
use crate::auth::Role;
use crate::directory::{ExternalId, UserRef};
use crate::problem::FieldError;

/// The users of one call.
pub const MAX_UPSERTS: usize = 1000;

/// A user to create, if there is none with this external id.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalUser {
    #[garde(skip)]
    pub external_id: ExternalId,
    /// Replaces all attributes of the user; left out: they stay as they are
    #[garde(skip)]
    #[schema(nullable = false)]
    pub attributes: Option<Attributes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpsertOutcome {
    /// The user is new
    Created,
    /// The user has other attributes than before
    Updated,
    /// Nothing changed
    Unchanged,
}

/// What was done for one user of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upserted {
    #[schema(value_type = String, example = "customer-1047")]
    pub external_id: ExternalId,
    pub id: Uuid,
    pub outcome: UpsertOutcome,
}

/// The result of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upserts {
    #[schema(example = 1)]
    pub created: usize,
    #[schema(example = 0)]
    pub updated: usize,
    #[schema(example = 0)]
    pub unchanged: usize,
    /// One item per user of the call, in the same order
    pub items: Vec<Upserted>,
}

impl Upserts {
    fn of(items: Vec<Upserted>) -> Self {
        let count = |outcome| items.iter().filter(|item| item.outcome == outcome).count();
        Self {
            created: count(UpsertOutcome::Created),
            updated: count(UpsertOutcome::Updated),
            unchanged: count(UpsertOutcome::Unchanged),
            items,
        }
    }
}

/// An external id may occur once in a call: the order of its attributes would be open.
pub fn require_distinct(users: &[ExternalUser]) -> Result<(), Vec<FieldError>> {
    let mut first: HashMap<&ExternalId, usize> = HashMap::new();
    let mut errors = Vec::new();
    for (index, user) in users.iter().enumerate() {
        if let Some(before) = first.insert(&user.external_id, index) {
            errors.push(FieldError {
                pointer: format!("/{index}/externalId"),
                message: format!("occurs before, in item {before}; send each external id once"),
            });
            first.insert(&user.external_id, before);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

impl UserService {
    /// Creates the user with this external id, or leaves it, and replaces its attributes, if there are any.
    pub async fn upsert(
        &self,
        user: ExternalUser,
        by: Option<Uuid>,
    ) -> Result<(UpsertOutcome, UserDetails), UserError> {
        let external = user.external_id.clone();
        let upserts = self.upsert_all(vec![user], by).await?;
        let upserted = upserts.items.first();
        let upserted = upserted.ok_or(UserError::NotFound(UserRef::External(external)))?;
        Ok((upserted.outcome, self.get(upserted.id).await?))
    }

    /// The same for many users with distinct external ids: all or none. `by` is `None` for the command line.
    pub async fn upsert_all(&self, users: Vec<ExternalUser>, by: Option<Uuid>) -> Result<Upserts, UserError> {
        let single = users.len() == 1;
        let externals: BTreeSet<ExternalId> = users.iter().map(|user| user.external_id.clone()).collect();
        let mut tx = self.db.begin().await?;
        let members = self.directory.create_missing(&mut tx, &externals).await?;
        let is_old = |user: &&ExternalUser| user.attributes.is_some() && !members.created.contains(&user.external_id);
        let old = users.iter().filter(is_old);
        let old: Vec<Uuid> = old
            .filter_map(|user| members.ids.get(&user.external_id).copied())
            .collect();
        let mut current: BTreeMap<Uuid, Vec<attributes::AttributeRow>> = BTreeMap::new();
        if !old.is_empty() {
            store::lock_all(&mut tx, &old).await?;
            for row in attributes::newest(&mut tx, &old).await? {
                current.entry(row.user_id).or_default().push(row);
            }
        }
        let (mut rows, mut items) = (Vec::new(), Vec::with_capacity(users.len()));
        let mut entry = Entry::about("users", "external");
        for user in users {
            let missing = || UserError::NotFound(UserRef::External(user.external_id.clone()));
            let id = members.ids.get(&user.external_id).copied().ok_or_else(missing)?;
            let created = members.created.contains(&user.external_id);
            let current = current.remove(&id).unwrap_or_default();
            let replacement = user
                .attributes
                .map(|new| Replacement::of(&self.clock, id, current, new));
            let changed = replacement.as_ref().is_some_and(|new| !new.rows.is_empty());
            if single {
                entry = Entry::about("user", &id);
                if created {
                    entry = entry.field("role", None::<Role>, Role::User);
                }
                if let Some(replacement) = &replacement {
                    entry = replacement.note(entry);
                }
            }
            rows.extend(replacement.into_iter().flat_map(|new| new.rows));
            items.push(Upserted {
                external_id: user.external_id,
                id,
                outcome: match (created, changed) {
                    (true, _) => UpsertOutcome::Created,
                    (false, true) => UpsertOutcome::Updated,
                    (false, false) => UpsertOutcome::Unchanged,
                },
            });
        }
        attributes::add(&mut tx, rows, by).await?;
        let upserts = Upserts::of(items);
        if !single {
            entry = entry
                .field("created", None::<usize>, upserts.created)
                .field("updated", None::<usize>, upserts.updated)
                .field("unchanged", None::<usize>, upserts.unchanged);
        }
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(upserts)
    }

    /// The user with this external id.
    pub async fn get_external(&self, external: ExternalId) -> Result<UserDetails, UserError> {
        let id = self.id_of(UserRef::External(external)).await?;
        self.get(id).await
    }
}
