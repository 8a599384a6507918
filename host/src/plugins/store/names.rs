//! SQL for `plugin_names`. Of `users` and `service_keys` it reads which ids exist, because an owner must exist.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Executor, Result, Tx};

/// Takes a name that is free.
pub(in crate::plugins) async fn take(tx: &mut Tx, name: String, owner: Option<Uuid>, since: Timestamp) -> Result<()> {
    const SQL: &str =
        "INSERT INTO plugin_names (name, owner_id, since) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
    tx.query(SQL).bind(name).bind(owner).bind(since).execute(tx).await?;
    Ok(())
}

/// The owner of a name; `None` if the name is free.
pub(in crate::plugins) async fn owner(on: impl Executor, name: String) -> Result<Option<Option<Uuid>>> {
    const SQL: &str = "SELECT owner_id FROM plugin_names WHERE name = $1";
    let found: Option<(Option<Uuid>,)> = on.statement(SQL).bind(name).fetch_optional(on).await?;
    Ok(found.map(|(owner,)| owner))
}

/// Gives a name to another owner.
pub(in crate::plugins) async fn give(tx: &mut Tx, name: String, owner: Uuid, since: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE plugin_names SET owner_id = $2, since = $3 WHERE name = $1";
    tx.query(SQL).bind(name).bind(owner).bind(since).execute(tx).await?;
    Ok(())
}

pub(in crate::plugins) async fn is_principal(tx: &mut Tx, id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT id FROM users WHERE id = $1 UNION ALL SELECT id FROM service_keys WHERE id = $1";
    Ok(tx.query(SQL).bind(id).fetch_optional::<(Uuid,)>(tx).await?.is_some())
}
