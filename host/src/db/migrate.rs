//! The tables, as numbered files in `migrations/`, one folder per engine with the same names.
//!
//! A process runs on tables that are newer than itself as long as they only grew, so that replicas can be replaced one
//! by one. A migration that removes something says in its name which migration a process must know to run without it:
//! `0014_drop_nicknames_needs_0013`. Before the first release the migrations were squashed; a database of the old
//! numbering is refused.

use sqlx::Connection as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::{Db, Engine, mutated};

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
    1 "0001_server",
    2 "0002_users",
    3 "0003_sessions",
    4 "0004_activities",
    5 "0005_plugins",
    6 "0006_events",
    7 "0007_rewards",
    8 "0008_claims",
    9 "0009_fulfilments",
    10 "0010_outbox",
    11 "0011_webhooks",
    12 "0012_audit",
    13 "0013_service_keys",
    14 "0014_facts",
    15 "0015_backtests",
    16 "0016_releases",
    17 "0017_transparency",
    18 "0018_candidates",
    19 "0019_make_goods",
];

/// Precedes the number of the migration that a process must know.
const NEEDS: &str = "_needs_";

/// How the tables relate to this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Exactly those of this release.
    Current,
    /// Of a later release that only added to them.
    Newer,
    /// Of an earlier release, or absent.
    Older,
    /// Of a later release, which removed what this one needs.
    TooNew,
    /// Of a development version from before the first release.
    Unreleased,
    /// Absent, but another schema of the database has tables of Meed.
    Elsewhere,
}

/// Why a process cannot run on these tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the database is not migrated to this release; run `meed migrate`")]
    Older,
    #[error("the database was migrated by a later release, which removed what this one needs; run that release")]
    TooNew,
    #[error(
        "this database was made by an unreleased version of Meed and cannot be migrated; export what you need with that \
         version, and start with a new, empty database"
    )]
    Unreleased,
    #[error(
        "the tables of Meed are in another schema of this database than the one that the connection uses; set the \
         search_path of the database user, or run `meed migrate` to create tables in this schema"
    )]
    Elsewhere,
}

/// Why the tables were not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    #[error("the table {APPLIED_TABLE} cannot be read")]
    Unreadable(#[from] super::DbError),
    #[error(transparent)]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl Schema {
    pub fn check(self) -> std::result::Result<(), Unfit> {
        match self {
            Self::Current | Self::Newer => Ok(()),
            Self::Older => Err(Unfit::Older),
            Self::TooNew => Err(Unfit::TooNew),
            Self::Unreleased => Err(Unfit::Unreleased),
            Self::Elsewhere => Err(Unfit::Elsewhere),
        }
    }
}

impl Db {
    /// Brings the tables to this release's version; leaves tables of a later release alone. Safe to run again, and from
    /// several processes at once: one migrates, the others wait.
    pub async fn migrate(&self) -> std::result::Result<(), MigrateError> {
        if self.schema().await? == Schema::Unreleased {
            return Err(Unfit::Unreleased.into());
        }
        match self {
            Self::Sqlite { write, .. } => {
                // sqlx takes no lock here. The write lock from the start lets a second process see what the first did.
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                migrator(|step| step.sqlite).run(&mut *tx).await?;
                Ok(tx.commit().await?)
            }
            Self::Postgres { pool, .. } => {
                // A migration may take longer than any request, so it has its own connection. sqlx takes an advisory
                // lock, which ends with the connection.
                let options = pool.connect_options().as_ref().clone();
                let options = options.options([("statement_timeout", "0"), ("lock_timeout", "0")]);
                let mut connection = sqlx::PgConnection::connect_with(&options).await?;
                migrator(|step| step.postgres).run(&mut connection).await?;
                Ok(connection.close().await?)
            }
        }
    }

    /// How the tables relate to this release.
    pub async fn schema(&self) -> super::Result<Schema> {
        const ELSEWHERE: &str = "SELECT CAST(oid AS BIGINT) FROM pg_catalog.pg_class WHERE relname = $1 LIMIT 1";
        match self.query(APPLIED).fetch_all::<(i64, String)>(self).await {
            Ok(applied) => Ok(judge(&applied)),
            Err(error) if !error.is_undefined_table() => Err(error),
            Err(_) if self.engine() == Engine::Sqlite => Ok(Schema::Older),
            Err(_) => {
                let found: Option<(i64,)> = self.query(ELSEWHERE).bind(APPLIED_TABLE).fetch_optional(self).await?;
                Ok(found.map_or(Schema::Older, |_| Schema::Elsewhere))
            }
        }
    }
}

const APPLIED_TABLE: &str = "_sqlx_migrations";

/// The migrations that were applied, by number.
pub(super) const APPLIED: &str =
    "SELECT version, description FROM _sqlx_migrations WHERE success = TRUE ORDER BY version";

pub(super) fn judge(applied: &[(i64, String)]) -> Schema {
    let newest = STEPS.last().map_or(0, |step| step.version);
    let is_other = |(version, name): &(i64, String)| {
        let ours = STEPS.iter().find(|step| step.version == *version);
        ours.is_some_and(|step| step.name != name)
    };
    if applied.iter().any(is_other) {
        return Schema::Unreleased;
    }
    let unknown = applied.iter().filter(|(version, _)| *version > newest);
    if applied.iter().filter(|(version, _)| *version <= newest).count() < STEPS.len() {
        Schema::Older
    } else if unknown.clone().any(|(_, name)| needs(name) > newest) {
        Schema::TooNew
    } else if unknown.count() > 0 {
        Schema::Newer
    } else {
        Schema::Current
    }
}

/// The newest migration that a process must know to run on the tables after this one; 0 when it only adds.
fn needs(name: &str) -> i64 {
    name.rsplit_once(NEEDS)
        .map_or(0, |(_, number)| number.parse().unwrap_or(i64::MAX))
}

fn migrator(sql: impl Fn(&Step) -> &'static str) -> Migrator {
    let mut migrator = Migrator::with_migrations(
        STEPS
            .iter()
            .map(|step| {
                let sql = mutated(sql(step));
                Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
            })
            .collect(),
    );
    // Migrations of a later release may be there already.
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{NEEDS, STEPS, Schema, judge, needs};

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

    #[test]
    fn a_later_release_may_add_but_not_take_away_what_is_needed() {
        let newest = STEPS.last().unwrap().version;
        let ours: Vec<_> = STEPS.iter().map(|step| (step.version, step.name.to_owned())).collect();
        let with = |names: &[String]| {
            let later = (newest + 1..).zip(names.iter().cloned());
            ours.iter().cloned().chain(later).collect::<Vec<_>>()
        };
        assert_eq!(judge(&[]), Schema::Older);
        assert_eq!(judge(&ours[1..]), Schema::Older);
        assert_eq!(judge(&ours), Schema::Current);
        assert_eq!(judge(&with(&["0098_more".to_owned()])), Schema::Newer);
        assert_eq!(
            judge(&with(&[format!("0098_drop_names{NEEDS}{newest:04}")])),
            Schema::Newer
        );
        let next = newest + 1;
        let names = ["0098_more".to_owned(), format!("0099_drop_names{NEEDS}{next:04}")];
        assert_eq!(judge(&with(&names)), Schema::TooNew);
        assert_eq!(judge(&with(&["0098_drop_needs_care".to_owned()])), Schema::TooNew);
        // A migration of a later release does not compensate for a missing one of ours.
        assert_eq!(judge(&with(&names)[1..]), Schema::Older);
    }

    #[test]
    fn the_numbering_from_before_the_first_release_is_recognised() {
        let old = [
            "0001_users",
            "0002_activities",
            "0003_plugins",
            "0004_events",
            "0005_reward_requests",
            "0006_plugin_lifecycle",
            "0007_reversals_and_budgets",
            "0008_outbox",
            "0009_webhooks",
            "0010_outbox_topics",
            "0011_fulfilments",
            "0012_received_claims",
        ];
        let old: Vec<_> = (1..).zip(old.map(str::to_owned)).collect();
        // With any of them as the last one.
        for length in 1..=old.len() {
            assert_eq!(judge(&old[..length]), Schema::Unreleased, "{length}");
        }
    }

    #[test]
    fn a_migration_needs_only_those_before_it() {
        for step in STEPS {
            assert!(needs(step.name) < step.version, "{}", step.name);
        }
    }
}
