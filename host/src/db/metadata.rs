//! Metadata of the database, by name. `demo` marks a database whose passwords are published.

use super::{Db, Result};
use crate::clock::Timestamp;

impl Db {
    pub async fn metadata(&self, name: &'static str) -> Result<Option<String>> {
        let found: Option<(String,)> = self
            .query("SELECT value FROM server_metadata WHERE name = $1")
            .bind(name)
            .fetch_optional(self)
            .await?;
        Ok(found.map(|(value,)| value))
    }

    pub async fn set_metadata(&self, name: &'static str, value: String, now: Timestamp) -> Result<()> {
        const SQL: &str = "INSERT INTO server_metadata (name, value, set_at) VALUES ($1, $2, $3) \
            ON CONFLICT (name) DO UPDATE SET value = $2, set_at = $3";
        let mut tx = self.begin().await?;
        tx.query(SQL).bind(name).bind(value).bind(now).execute(&mut tx).await?;
        tx.commit().await
    }
}
