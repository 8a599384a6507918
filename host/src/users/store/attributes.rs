//! `user_attributes`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::users) struct AttributeRow {
        pub user_id: Uuid,
        pub id: Uuid,
        pub name: String,
        pub value: Option<String>,
        pub set_at: Timestamp,
    }
}

impl AttributeRow {
    /// The next row of this attribute. It sorts after this one even if the clock stopped or went back.
    pub(in crate::users) fn followed_by(self, value: Option<String>, now: Timestamp, new_id: Uuid) -> Self {
        let (set_at, id) = if now > self.set_at {
            (now, new_id)
        } else {
            (self.set_at, Uuid::from_u128(self.id.as_u128().saturating_add(1)))
        };
        Self {
            user_id: self.user_id,
            id,
            name: self.name,
            value,
            set_at,
        }
    }
}

/// The newest row of each attribute that these users ever had, by user and name; a removed attribute has no value.
pub(in crate::users) async fn newest(on: impl Executor, users: &[Uuid]) -> Result<Vec<AttributeRow>> {
    // Steps from one name to the next by the index, however many values each had.
    macro_rules! newest_of {
        ($users:literal) => {
            concat!(
                "WITH RECURSIVE had (user_id, name) AS ( ",
                $users,
                " UNION ALL \
                    SELECT h.user_id, (SELECT a.name FROM user_attributes a \
                        WHERE a.user_id = h.user_id AND a.name > h.name ORDER BY a.name LIMIT 1) \
                    FROM had h WHERE h.name IS NOT NULL) \
                SELECT h.user_id, h.name, \
                    (SELECT b.id FROM user_attributes b WHERE b.user_id = h.user_id AND b.name = h.name \
                        ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS id, \
                    (SELECT b.value FROM user_attributes b WHERE b.user_id = h.user_id AND b.name = h.name \
                        ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS value, \
                    (SELECT b.set_at FROM user_attributes b WHERE b.user_id = h.user_id AND b.name = h.name \
                        ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS set_at \
                FROM had h WHERE h.name IS NOT NULL ORDER BY h.user_id, h.name"
            )
        };
    }
    const SQLITE: &str = newest_of!(
        "SELECT unhex(item.value), (SELECT a.name FROM user_attributes a WHERE a.user_id = unhex(item.value) \
            ORDER BY a.name LIMIT 1) FROM json_each($1) AS item"
    );
    const POSTGRES: &str = newest_of!(
        "SELECT CAST(item.id AS UUID), (SELECT a.name FROM user_attributes a WHERE a.user_id = CAST(item.id AS UUID) \
            ORDER BY a.name LIMIT 1) FROM jsonb_array_elements_text($1) AS item (id)"
    );
    let sql = match on.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let users: Vec<String> = users.iter().map(|id| id.simple().to_string()).collect();
    let query = on.statement(sql).bind(Json(users));
    on.fetch_all(query).await
}

/// Adds values of attributes; `by` is `None` for the command line.
pub(in crate::users) async fn add(tx: &mut Tx, rows: Vec<AttributeRow>, by: Option<Uuid>) -> Result<()> {
    const SQLITE: &str = "INSERT INTO user_attributes (id, user_id, name, value, set_at, set_by) \
        SELECT unhex(value ->> 'id'), unhex(value ->> 'user_id'), value ->> 'name', value ->> 'value', \
        value ->> 'set_at', $2 FROM json_each($1)";
    const POSTGRES: &str = "INSERT INTO user_attributes (id, user_id, name, value, set_at, set_by) \
        SELECT id, user_id, name, value, set_at, $2 FROM jsonb_to_recordset($1) \
        AS item (id UUID, user_id UUID, name TEXT, value TEXT, set_at BIGINT)";
    if rows.is_empty() {
        return Ok(());
    }
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let items = rows.into_iter().map(|row| {
        serde_json::json!({
            // Without hyphens, which both SQLite's unhex and PostgreSQL's uuid accept.
            "id": row.id.simple().to_string(),
            "user_id": row.user_id.simple().to_string(),
            "name": row.name,
            "value": row.value,
            "set_at": row.set_at.as_millis(),
        })
    });
    let items = Json(items.collect::<serde_json::Value>());
    tx.query(sql).bind(items).bind(by).execute(tx).await?;
    Ok(())
}

/// All values that the attributes of a user ever had, by name and time.
pub(in crate::users) async fn history(
    db: &Db,
    user_id: Uuid,
    after: Option<(String, Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<AttributeRow>> {
    const SQL: &str = "SELECT user_id, id, name, value, set_at FROM user_attributes \
        WHERE user_id = $1 AND (name, set_at, id) > ($2, $3, $4) ORDER BY name, set_at, id LIMIT $5";
    // No attribute has an empty name.
    let first = || (String::new(), Timestamp::EPOCH, Uuid::nil());
    let (name, set_at, id) = after.unwrap_or_else(first);
    let query = db.query(SQL).bind(user_id).bind(name).bind(set_at).bind(id);
    query.bind(limit).fetch_all(db).await
}
