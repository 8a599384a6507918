//! `users`, `user_directory` and `user_attributes`.

pub(super) mod mails;
pub(super) mod resets;
pub(super) mod second_factors;

use uuid::Uuid;

use crate::auth::Role;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct UserRow {
        pub id: Uuid,
        pub email: String,
        pub role: Role,
        pub invite_code: String,
        pub invited_by: Option<Uuid>,
        pub disabled: bool,
        pub created_at: Timestamp,
    }
}

row! {
    pub(super) struct CredentialsRow {
        pub id: Uuid,
        pub password_hash: String,
        pub disabled: bool,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct AttributeRow {
        pub id: Uuid,
        pub name: String,
        pub value: Option<String>,
        pub set_at: Timestamp,
    }
}

impl AttributeRow {
    /// The next row of this attribute. It sorts after this one even if the clock stopped or went back.
    pub(super) fn followed_by(self, value: Option<String>, now: Timestamp, new_id: Uuid) -> Self {
        let (set_at, id) = if now > self.set_at {
            (now, new_id)
        } else {
            (self.set_at, Uuid::from_u128(self.id.as_u128().saturating_add(1)))
        };
        Self {
            id,
            name: self.name,
            value,
            set_at,
        }
    }
}

/// Adds an account; `false` if an account with its e-mail exists.
pub(super) async fn insert(tx: &mut Tx, row: &UserRow, email_key: String, password_hash: String) -> Result<bool> {
    const EMAIL: &str = "INSERT INTO user_directory (kind, value, user_id) VALUES ('EMAIL', $1, $2) \
        ON CONFLICT (kind, value) DO NOTHING";
    const INVITE_CODE: &str = "INSERT INTO user_directory (kind, value, user_id) VALUES ('INVITE_CODE', $1, $2)";
    const USER: &str = "INSERT INTO users \
        (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    if tx.query(EMAIL).bind(email_key).bind(row.id).execute(&mut *tx).await? == 0 {
        return Ok(false);
    }
    let invite_code = tx.query(INVITE_CODE).bind(row.invite_code.clone());
    invite_code.bind(row.id).execute(&mut *tx).await?;
    tx.query(USER)
        .bind(row.id)
        .bind(row.email.clone())
        .bind(password_hash)
        .bind(row.role)
        .bind(row.invite_code.clone())
        .bind(row.invited_by)
        .bind(row.disabled)
        .bind(row.created_at)
        .execute(tx)
        .await?;
    Ok(true)
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<UserRow>> {
    const SQL: &str = "SELECT id, email, role, invite_code, invited_by, disabled, created_at FROM users WHERE id = $1";
    on.statement(SQL).bind(id).fetch_optional(on).await
}

pub(super) async fn find_credentials(db: &Db, email_key: String) -> Result<Option<CredentialsRow>> {
    const SQL: &str = "SELECT u.id, u.password_hash, u.disabled FROM user_directory d JOIN users u ON u.id = d.user_id \
        WHERE d.kind = 'EMAIL' AND d.value = $1";
    db.query(SQL).bind(email_key).fetch_optional(db).await
}

pub(super) async fn find_inviter(tx: &mut Tx, invite_code: String) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT u.id FROM user_directory d JOIN users u ON u.id = d.user_id \
        WHERE d.kind = 'INVITE_CODE' AND d.value = $1 AND u.disabled = FALSE";
    Ok(tx
        .query(SQL)
        .bind(invite_code)
        .fetch_optional::<(Uuid,)>(tx)
        .await?
        .map(|(id,)| id))
}

/// Reads an account and takes a shared lock: until the transaction ends, no other can change the account, but others
/// can share the lock.
pub(super) async fn hold(tx: &mut Tx, id: Uuid) -> Result<Option<UserRow>> {
    const POSTGRES: &str = "SELECT id, email, role, invite_code, invited_by, disabled, created_at \
        FROM users WHERE id = $1 FOR SHARE";
    match tx.engine() {
        // SQLite has one writer, and this transaction is it.
        Engine::Sqlite => find(tx, id).await,
        Engine::Postgres => tx.query(POSTGRES).bind(id).fetch_optional(tx).await,
    }
}

/// Reads an account to change it, and locks it against changes and shared locks until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<UserRow>> {
    const POSTGRES: &str = "SELECT id, email, role, invite_code, invited_by, disabled, created_at \
        FROM users WHERE id = $1 FOR NO KEY UPDATE";
    match tx.engine() {
        Engine::Sqlite => find(tx, id).await,
        Engine::Postgres => tx.query(POSTGRES).bind(id).fetch_optional(tx).await,
    }
}

/// The ADMINs who can log in, locked against changes until the transaction ends.
pub(super) async fn lock_enabled_admins(tx: &mut Tx) -> Result<Vec<Uuid>> {
    const SQLITE: &str = "SELECT id FROM users WHERE role = 'ADMIN' AND disabled = FALSE ORDER BY id";
    const POSTGRES: &str =
        "SELECT id FROM users WHERE role = 'ADMIN' AND disabled = FALSE ORDER BY id FOR NO KEY UPDATE";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let rows: Vec<(Uuid,)> = tx.query(sql).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

pub(super) async fn update(tx: &mut Tx, row: &UserRow) -> Result<()> {
    tx.query("UPDATE users SET role = $2, disabled = $3 WHERE id = $1")
        .bind(row.id)
        .bind(row.role)
        .bind(row.disabled)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn list(
    db: &Db,
    role: Option<Role>,
    email_key: Option<String>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<UserRow>> {
    const SQL: &str = "SELECT id, email, role, invite_code, invited_by, disabled, created_at FROM users WHERE TRUE";
    const BY_EMAIL: &str = "id = (SELECT user_id FROM user_directory WHERE kind = 'EMAIL' AND value = $?)";
    db.select(SQL)
        .and("role = $?", role)
        .and(BY_EMAIL, email_key)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The newest row of each attribute that the user ever had; a removed attribute has no value.
pub(super) async fn newest_attributes(on: impl Executor, user_id: Uuid) -> Result<Vec<AttributeRow>> {
    // Steps from one name to the next by the index, however many values each had.
    const SQL: &str = "WITH RECURSIVE had (name) AS ( \
            SELECT (SELECT name FROM user_attributes WHERE user_id = $1 ORDER BY name LIMIT 1) \
            UNION ALL \
            SELECT (SELECT a.name FROM user_attributes a WHERE a.user_id = $1 AND a.name > h.name ORDER BY a.name LIMIT 1) \
            FROM had h WHERE h.name IS NOT NULL) \
        SELECT (SELECT b.id FROM user_attributes b WHERE b.user_id = $1 AND b.name = h.name \
                ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS id, \
            h.name, \
            (SELECT b.value FROM user_attributes b WHERE b.user_id = $1 AND b.name = h.name \
                ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS value, \
            (SELECT b.set_at FROM user_attributes b WHERE b.user_id = $1 AND b.name = h.name \
                ORDER BY b.set_at DESC, b.id DESC LIMIT 1) AS set_at \
        FROM had h WHERE h.name IS NOT NULL \
        ORDER BY h.name";
    on.statement(SQL).bind(user_id).fetch_all(on).await
}

pub(super) async fn add_attribute(tx: &mut Tx, user_id: Uuid, row: AttributeRow, set_by: Uuid) -> Result<()> {
    const SQL: &str = "INSERT INTO user_attributes (id, user_id, name, value, set_at, set_by) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    tx.query(SQL)
        .bind(row.id)
        .bind(user_id)
        .bind(row.name)
        .bind(row.value)
        .bind(row.set_at)
        .bind(set_by)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn password_hash(db: &Db, id: Uuid) -> Result<Option<String>> {
    let query = db.query("SELECT password_hash FROM users WHERE id = $1").bind(id);
    Ok(query.fetch_optional::<(String,)>(db).await?.map(|(hash,)| hash))
}

/// Sets the password if it is still the one with the hash `expected`.
pub(super) async fn replace_password(tx: &mut Tx, id: Uuid, hash: String, expected: Option<String>) -> Result<bool> {
    const SQL: &str = "UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3";
    Ok(tx.query(SQL).bind(id).bind(hash).bind(expected).execute(tx).await? == 1)
}

pub(super) async fn set_password(tx: &mut Tx, id: Uuid, hash: String) -> Result<()> {
    const SQL: &str = "UPDATE users SET password_hash = $2 WHERE id = $1";
    tx.query(SQL).bind(id).bind(hash).execute(tx).await?;
    Ok(())
}
