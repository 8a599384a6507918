//! A copy of an SQLite database while a server uses it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::DbError;

/// Why the backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is for SQLite; back PostgreSQL up with its own pg_dump, or by archiving its write-ahead log")]
    NotSqlite,
    #[error("create {path:?}, which must not exist: {error}")]
    Make { path: PathBuf, error: io::Error },
    #[error("write {path:?}: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("copy the database: {0}")]
    Db(#[from] DbError),
}

/// Writes everything that was committed so far to a new file that only its owner can read, and returns the size of the
/// file in bytes. Other connections can read and write meanwhile.
pub async fn backup(url: &str, path: &Path) -> Result<u64, BackupError> {
    if !url.starts_with("sqlite:") {
        return Err(BackupError::NotSqlite);
    }
    let make = |error| BackupError::Make {
        path: path.to_owned(),
        error,
    };
    // SQLite does not interpret a path that begins with a slash as a URI.
    let path = &std::path::absolute(path).map_err(make)?;
    let options = SqliteConnectOptions::from_str(url)
        .map_err(DbError::from)?
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(DbError::from)?;
    // SQLite accepts an existing file if it is empty. The backup contains password hashes and the secrets of draws, so
    // only the owner may read it.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(make)?;
    let copied = copy(&mut connection, path, &file).await;
    if copied.is_err() {
        // An incomplete backup must not look like a complete one.
        std::fs::remove_file(path).map_err(make)?;
    }
    connection.close().await.map_err(DbError::from)?;
    copied
}

async fn copy(connection: &mut SqliteConnection, path: &Path, file: &File) -> Result<u64, BackupError> {
    let failed = |error| BackupError::Write {
        path: path.to_owned(),
        error,
    };
    let name = path
        .to_str()
        .ok_or_else(|| failed(io::Error::other("the name is not UTF-8")))?;
    #[expect(clippy::disallowed_methods, reason = "PostgreSQL has no such statement")]
    let statement = sqlx::query("VACUUM INTO $1").bind(name.to_owned());
    statement.execute(connection).await.map_err(DbError::from)?;
    // SQLite does not wait for the disk here.
    file.sync_all().map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
}
