//! Names of plugins: a name belongs to the principal that published its first version, so that an operator cannot
//! publish a new version of another's plugin. An ADMIN can give it to another principal.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::service::{PluginError, PluginService};
use super::store::names;
use crate::audit::{self, Entry};
use crate::clock::Timestamp;
use crate::db::Tx;

/// The owner of a plugin's name.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginName {
    #[schema(example = "login-streak")]
    pub name: String,
    pub owner_id: Uuid,
    pub since: Timestamp,
}

impl PluginService {
    /// Fails early, before the costly checks of an upload, if the name belongs to another principal.
    pub(super) async fn require_name(&self, name: &str, by: Option<Uuid>) -> Result<(), PluginError> {
        let owner = names::owner(&self.db, name.to_owned()).await?;
        check(name, owner.unwrap_or(by), by)
    }

    /// Takes a free name. Part of the caller's transaction.
    pub(super) async fn take_name(&self, tx: &mut Tx, name: &str, by: Option<Uuid>) -> Result<(), PluginError> {
        names::take(tx, name.to_owned(), by, self.clock.now()).await?;
        let owner = names::owner(&mut *tx, name.to_owned()).await?;
        check(name, owner.unwrap_or(by), by)
    }

    /// Gives a name to another principal.
    pub async fn give_name(&self, name: &str, to: Uuid) -> Result<PluginName, PluginError> {
        let since = self.clock.now();
        let mut tx = self.db.begin().await?;
        let owner = names::owner(&mut tx, name.to_owned()).await?;
        let owner = owner.ok_or_else(|| PluginError::NoSuchPlugin { name: name.to_owned() })?;
        if !names::is_principal(&mut tx, to).await? {
            return Err(PluginError::NoSuchOwner(to));
        }
        names::give(&mut tx, name.to_owned(), to, since).await?;
        let entry = Entry::about("plugin-name", name).field("ownerId", owner, to);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(PluginName {
            name: name.to_owned(),
            owner_id: to,
            since,
        })
    }
}

/// The server may install bundled plugins under every name.
fn check(name: &str, owner: Option<Uuid>, by: Option<Uuid>) -> Result<(), PluginError> {
    if by.is_none() || owner == by {
        return Ok(());
    }
    Err(PluginError::NameTaken { name: name.to_owned() })
}
