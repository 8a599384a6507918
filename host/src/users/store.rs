//! `users` and `user_directory`.

pub(super) mod attributes;
pub(super) mod erasures;
pub(super) mod mails;
pub(super) mod resets;
pub(super) mod second_factors;

use uuid::Uuid;

use super::Email;
use crate::auth::Role;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};
use crate::directory::ExternalId;

row! {
    #[derive(Clone, Debug)]
    pub(super) struct UserRow {
        pub id: Uuid,
        pub email: Option<String>,
        pub external_id: Option<String>,
        pub role: Role,
        pub invite_code: Option<String>,
        pub invited_by: Option<Uuid>,
        pub disabled: bool,
        pub created_at: Timestamp,
    }
}

/// Filters of the list of users.
#[derive(Debug, Default)]
pub struct Filter {
    pub role: Option<Role>,
    pub email: Option<Email>,
    pub external_id: Option<ExternalId>,
}

impl UserRow {
    /// An erased user has no name.
    pub(super) fn is_erased(&self) -> bool {
        self.email.is_none() && self.external_id.is_none()
    }
}

row! {
    pub(super) struct CredentialsRow {
        pub id: Uuid,
        pub password_hash: Option<String>,
        pub disabled: bool,
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
    const SQL: &str = "SELECT id, email, external_id, role, invite_code, invited_by, disabled, created_at FROM users \
        WHERE id = $1";
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
    const POSTGRES: &str = "SELECT id, email, external_id, role, invite_code, invited_by, disabled, created_at \
        FROM users WHERE id = $1 FOR SHARE";
    match tx.engine() {
        // SQLite has one writer, and this transaction is it.
        Engine::Sqlite => find(tx, id).await,
        Engine::Postgres => tx.query(POSTGRES).bind(id).fetch_optional(tx).await,
    }
}

/// Reads an account to change it, and locks it against changes and shared locks until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<UserRow>> {
    const POSTGRES: &str = "SELECT id, email, external_id, role, invite_code, invited_by, disabled, created_at \
        FROM users WHERE id = $1 FOR NO KEY UPDATE";
    match tx.engine() {
        Engine::Sqlite => find(tx, id).await,
        Engine::Postgres => tx.query(POSTGRES).bind(id).fetch_optional(tx).await,
    }
}

/// Locks users against changes of their attributes until the transaction ends, in the order of their ids, so that two calls
/// cannot deadlock.
pub(super) async fn lock_all(tx: &mut Tx, ids: &[Uuid]) -> Result<()> {
    const POSTGRES: &str = "SELECT id FROM users \
        WHERE id IN (SELECT CAST(value AS UUID) FROM jsonb_array_elements_text($1)) ORDER BY id FOR NO KEY UPDATE";
    match tx.engine() {
        // SQLite has one writer, and this transaction is it.
        Engine::Sqlite => {}
        Engine::Postgres => {
            let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
            let _: Vec<(Uuid,)> = tx.query(POSTGRES).bind(Json(ids)).fetch_all(tx).await?;
        }
    }
    Ok(())
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

pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<UserRow>> {
    const SQL: &str = "SELECT id, email, external_id, role, invite_code, invited_by, disabled, created_at FROM users \
        WHERE TRUE";
    const BY_EMAIL: &str = "id = (SELECT user_id FROM user_directory WHERE kind = 'EMAIL' AND value = $?)";
    const BY_EXTERNAL_ID: &str = "id = (SELECT user_id FROM user_directory WHERE kind = 'EXTERNAL_ID' AND value = $?)";
    db.select(SQL)
        .and("role = $?", filter.role)
        .and(BY_EMAIL, filter.email.map(|email| email.key()))
        .and(BY_EXTERNAL_ID, filter.external_id.map(|external| external.to_string()))
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

pub(super) async fn password_hash(db: &Db, id: Uuid) -> Result<Option<String>> {
    let query = db.query("SELECT password_hash FROM users WHERE id = $1").bind(id);
    Ok(query
        .fetch_optional::<(Option<String>,)>(db)
        .await?
        .and_then(|(hash,)| hash))
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
