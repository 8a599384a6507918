//! Creates and changes users as their identity provider describes them.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::Identity;
use super::replacement::Replacement;
use super::store::{self, UserRow, attributes};
use super::{UserError, UserService};
use crate::attributes::{Attributes, MAX_ATTRIBUTES};
use crate::audit::{self, Entry};
use crate::auth::{EndReason, Role};
use crate::directory::{Account, UserRef};

impl UserService {
    /// The account of this identity, in the role and with the attributes that the provider states. Creates the user if it is
    /// new and `create` is set; otherwise `None`. Writes nothing if nothing changes. A disabled account stays as it is.
    /// `task` acts in the audit log, if no request does.
    pub(super) async fn provision(
        &self,
        identity: &Identity,
        create: bool,
        task: Option<&'static str>,
    ) -> Result<Option<Account>, UserError> {
        let user = UserRef::External(identity.external_id.clone());
        let found = self.resolve(&user).await?;
        let changes_role = match (found, identity.role) {
            (None, _) if !create => return Ok(None),
            (Some(account), _) if account.disabled => return Ok(Some(account)),
            (Some(account), Some(role)) => account.role != role,
            (None, role) => role.is_some_and(|role| role != Role::User),
            (Some(_), None) => false,
        };
        if let Some(account) = found
            && !changes_role
            && self.has_attributes(account, &identity.attributes).await?
        {
            return Ok(Some(account));
        }
        let mut tx = self.db.begin().await?;
        // Before the account, as every change of a role does.
        let admins = if changes_role {
            store::lock_enabled_admins(&mut tx).await?
        } else {
            Vec::new()
        };
        let externals = BTreeSet::from([identity.external_id.clone()]);
        let members = self.directory.create_missing(&mut tx, &externals).await?;
        let created = members.created.contains(&identity.external_id);
        let id = members.ids.get(&identity.external_id).copied();
        let id = id.ok_or(UserError::NotFound(user))?;
        let before = store::lock(&mut tx, id).await?.ok_or(UserError::NotFound(id.into()))?;
        let after = UserRow {
            role: identity.role.unwrap_or(before.role),
            ..before.clone()
        };
        if before.disabled {
            return Ok(Some(account(&before)));
        }
        let mut entry = Entry::about("user", &id);
        let mut ended = None;
        if after.role != before.role {
            if admins == [id] {
                return Err(UserError::LastAdmin(id));
            }
            store::update(&mut tx, &after).await?;
            ended = Some(self.sessions.end_all(&mut tx, id, EndReason::RoleChanged).await?);
        }
        if created {
            entry = entry.field("role", None::<Role>, after.role);
        } else if after.role != before.role {
            entry = entry.field("role", before.role, after.role);
        }
        let current = attributes::newest(&mut tx, &[id]).await?;
        let merged = merge(&current, &identity.attributes);
        let replacement = Replacement::of(&self.clock, id, current, merged);
        let is_changed = created || ended.is_some() || !replacement.rows.is_empty();
        entry = replacement.note(entry);
        attributes::add(&mut tx, replacement.rows, None).await?;
        if is_changed {
            let entry = match task {
                Some(task) => entry.by_server(task),
                None => entry,
            };
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        tx.commit().await?;
        if let Some(ended) = ended {
            self.sessions.refuse(ended).await;
            self.standings.drop_copies(id).await;
        }
        Ok(Some(account(&after)))
    }

    async fn has_attributes(&self, account: Account, wanted: &BTreeMap<String, String>) -> Result<bool, UserError> {
        if wanted.is_empty() {
            return Ok(true);
        }
        let current = self.attributes(account.id).await?;
        Ok(wanted.iter().all(|(name, value)| current.get(name) == Some(value)))
    }
}

fn account(row: &UserRow) -> Account {
    Account {
        id: row.id,
        role: row.role,
        disabled: row.disabled,
    }
}

/// The current attributes with those of the token. Others set attributes, too, so the maximum may be reached.
fn merge(current: &[attributes::AttributeRow], wanted: &BTreeMap<String, String>) -> Attributes {
    let current = current
        .iter()
        .filter_map(|row| Some((row.name.clone(), row.value.clone()?)));
    let mut merged: BTreeMap<String, String> = current.collect();
    for (name, value) in wanted {
        if merged.len() < MAX_ATTRIBUTES || merged.contains_key(name) {
            merged.insert(name.clone(), value.clone());
        } else {
            tracing::warn!(
                name,
                "attribute of a token left out: the user has {MAX_ATTRIBUTES} already"
            );
        }
    }
    Attributes(merged)
}
