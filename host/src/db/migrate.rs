//! The tables, as numbered files in `migrations/`, one folder per engine with the same names.

use sqlx::Connection as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::Db;

struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! steps {
    ($($version:literal $name:literal),* $(,)?) => {
        &[$(Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

const STEPS: &[Step] = steps![
    1 "0001_users",
    2 "0002_activities",
    3 "0003_plugins",
    4 "0004_events",
    5 "0005_reward_requests",
    6 "0006_plugin_lifecycle",
    7 "0007_reversals_and_budgets",
];

impl Db {
    /// Brings the tables to this release's version. Safe to run again, and from several processes at once.
    pub async fn migrate(&self) -> std::result::Result<(), sqlx::migrate::MigrateError> {
        match self {
            Self::Sqlite { write, .. } => migrator(|step| step.sqlite).run(write).await,
            Self::Postgres { pool, .. } => {
                // A migration may take longer than any request may, so its connection is not one of theirs.
                let options = pool.connect_options().as_ref().clone();
                let options = options.options([("statement_timeout", "0"), ("lock_timeout", "0")]);
                let mut connection = sqlx::PgConnection::connect_with(&options).await?;
                migrator(|step| step.postgres).run(&mut connection).await?;
                Ok(connection.close().await?)
            }
        }
    }

    /// Whether every migration of this release was applied.
    pub async fn is_migrated(&self) -> bool {
        let newest = STEPS.last().map_or(0, |step| step.version);
        let applied: super::Result<(Option<i64>,)> = self
            .query("SELECT MAX(version) FROM _sqlx_migrations WHERE success = TRUE")
            .fetch_one(self)
            .await;
        applied.is_ok_and(|(version,)| version.unwrap_or(0) >= newest)
    }
}

fn migrator(sql: impl Fn(&Step) -> &'static str) -> Migrator {
    Migrator::with_migrations(
        STEPS
            .iter()
            .map(|step| {
                let sql = sqlx::SqlStr::from_static(sql(step));
                Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::STEPS;

    fn files(engine: &str) -> BTreeSet<String> {
        std::fs::read_dir(format!("{}/../migrations/{engine}", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn every_migration_exists_for_both_engines_and_is_listed() {
        let listed: BTreeSet<String> = STEPS.iter().map(|step| format!("{}.sql", step.name)).collect();
        assert_eq!(files("sqlite"), listed);
        assert_eq!(files("postgres"), listed);
    }

    #[test]
    fn numbers_follow_the_names() {
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version, i64::try_from(index).unwrap() + 1);
            assert!(step.name.starts_with(&format!("{:04}_", step.version)), "{}", step.name);
        }
    }
}
