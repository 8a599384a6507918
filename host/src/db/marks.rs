//! What a server knows of its own database, as named marks: `demo` says that its secrets are published.

use super::{Db, Result};
use crate::clock::Timestamp;

impl Db {
    pub async fn mark(&self, name: &'static str) -> Result<Option<String>> {
        let mark: Option<(String,)> = self
            .query("SELECT value FROM server_marks WHERE name = $1")
            .bind(name)
            .fetch_optional(self)
            .await?;
        Ok(mark.map(|(value,)| value))
    }

    pub async fn set_mark(&self, name: &'static str, value: String, now: Timestamp) -> Result<()> {
        const SQL: &str = "INSERT INTO server_marks (name, value, set_at) VALUES ($1, $2, $3) \
            ON CONFLICT (name) DO UPDATE SET value = $2, set_at = $3";
        let mut tx = self.begin().await?;
        tx.query(SQL).bind(name).bind(value).bind(now).execute(&mut tx).await?;
        tx.commit().await
    }
}
