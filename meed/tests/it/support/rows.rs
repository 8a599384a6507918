//! Inserts rows directly, for data that no route creates.

use meed_host::clock::Timestamp;
use meed_host::db::{Json, Tx};
use serde_json::json;
use uuid::Uuid;

use super::TestApp;

impl TestApp {
    pub async fn begin(&self) -> Tx {
        self.app.db.begin().await.expect("a transaction")
    }

    /// A user who registered at this time, with or without an inviter.
    pub async fn insert_user(&self, registered: Timestamp, invited_by: Option<Uuid>) -> Uuid {
        const SQL: &str = "INSERT INTO users \
            (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
            VALUES ($1, $2, '', 'USER', $2, $3, $4, $5)";
        let id = self.app.clock.new_id();
        let mut tx = self.begin().await;
        tx.query(SQL)
            .bind(id)
            .bind(format!("{id}@example.com"))
            .bind(invited_by)
            .bind(false)
            .bind(registered)
            .execute(&mut tx)
            .await
            .expect("a user");
        tx.commit().await.expect("commit");
        id
    }

    pub async fn set_attribute(&self, user_id: Uuid, name: &str, value: Option<&str>, at: Timestamp) {
        const SQL: &str = "INSERT INTO user_attributes (id, user_id, name, value, set_at) VALUES ($1, $2, $3, $4, $5)";
        let mut tx = self.begin().await;
        tx.query(SQL)
            .bind(self.app.clock.new_id())
            .bind(user_id)
            .bind(name.to_owned())
            .bind(value.map(str::to_owned))
            .bind(at)
            .execute(&mut tx)
            .await
            .expect("an attribute");
        tx.commit().await.expect("commit");
    }

    /// An event with these rewards and a plugin that does not exist.
    pub async fn insert_event(&self, by: Uuid, rewards: &[Uuid]) -> Uuid {
        const PLUGIN: &str = "INSERT INTO plugin_versions \
            (digest, id, name, version, title, description, texts, params_schema, abi, class, size_bytes, state, created_at) \
            VALUES ($1, $2, $1, '1.0.0', '', '', $3, $3, 'v1', 'STANDARD', 0, 'ACTIVE', $4)";
        const EVENT: &str = "INSERT INTO events (id, name, title, description, start_at, end_at, is_active, tags, reward_ids, \
            time_zone, plugin_digest, plugin_name, plugin_version, params, queries, state, recurrence, recurrence_count, max_quantity, seed_secret, revision, \
            created_by, created_at, updated_at) \
            VALUES ($1, $4, '', '', 0, 1, $2, $3, $3, 'UTC', $4, $4, '1.0.0', $3, $3, $5, 'ONCE', 1, 1, $5, 1, $6, 0, 0)";
        let id = self.app.clock.new_id();
        let mut tx = self.begin().await;
        tx.query(PLUGIN)
            .bind(id.to_string())
            .bind(self.app.clock.new_id())
            .bind(Json(json!({})))
            .bind(self.app.clock.now())
            .execute(&mut tx)
            .await
            .expect("a plugin");
        tx.query(EVENT)
            .bind(id)
            .bind(true)
            .bind(Json(json!([])))
            .bind(id.to_string())
            .bind(Vec::<u8>::new())
            .bind(by)
            .execute(&mut tx)
            .await
            .expect("an event");
        self.app
            .rewards
            .set_offer(&mut tx, id, rewards)
            .await
            .expect("an offer");
        tx.commit().await.expect("commit");
        id
    }

    pub async fn insert_request(
        &self,
        event_id: Uuid,
        user_id: Uuid,
        status: &str,
        (period, slot): (&str, i64),
        received: Timestamp,
    ) {
        const SQL: &str = "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, \
            period, slot, reasons, progress, received_at, decided_at, receipt_digest, receipt_path, receipt_key_id, \
            receipt_signature) VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $8, $9, $9, $10, $10, '', $10)";
        let id = self.app.clock.new_id();
        let mut tx = self.begin().await;
        tx.query(SQL)
            .bind(id)
            .bind(event_id)
            .bind(user_id)
            .bind(event_id.to_string())
            .bind(status.to_owned())
            .bind(period.to_owned())
            .bind(slot)
            .bind(Json(json!([])))
            .bind(received)
            .bind(Vec::<u8>::new())
            .execute(&mut tx)
            .await
            .expect("a reward request");
        tx.commit().await.expect("commit");
    }
}
