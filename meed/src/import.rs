//! `meed users import FILE`, `meed activities import FILE` and `meed codes import REWARD FILE`: reads items from a file and
//! writes them in batches.
//!
//! A bad line is reported with its number and the reason, and the others are imported. A second run changes nothing for the
//! items that are there, so an interrupted import is simply run again.

mod lines;
mod progress;
mod source;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use garde::Validate;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use meed_host::activities::{ActivityError, ActivityService, MAX_BATCH, NewActivity};
use meed_host::audit::{self, Origin};
use meed_host::body::{field_errors, of_one_line, parse_object};
use meed_host::clock::Clock;
use meed_host::config::Config;
use meed_host::directory::UserRef;
use meed_host::problem::FieldError;
use meed_host::rewards::{RewardCode, RewardService};
use meed_host::users::{ExternalUser, MAX_UPSERTS, UserService};

use progress::Progress;
use source::{Column, Line, Source};

/// Codes that one transaction imports.
const MAX_CODES: usize = 10_000;

/// The exit code if lines were bad.
const SOME_BAD: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// NDJSON (one JSON object per line), or CSV with a header; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format [default: csv for *.csv, otherwise ndjson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The column of CSV that a member is read from, such as externalId=customer_no or attributes.level=lvl. Without this
    /// option, the header has the names of the members
    #[arg(long = "map", value_name = "MEMBER=COLUMN")]
    map: Vec<Column>,
    /// What separates the columns of CSV
    #[arg(long, default_value = ",", value_name = "CHARACTER")]
    delimiter: char,
    /// Begin at this line of the file; earlier lines are skipped
    #[arg(long, default_value_t = 1, value_name = "N")]
    from_line: u64,
    /// Stop at the first bad line; the lines before it are imported
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CodesArguments {
    /// The id of a reward with codes
    #[arg(value_name = "REWARD")]
    reward: Uuid,
    #[command(flatten)]
    file: Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

/// Items of one kind, and where they go.
trait Target {
    type Item: DeserializeOwned + Validate<Context = ()>;

    /// What an item must fulfil besides its own validation.
    fn check(item: &Self::Item) -> Result<(), FieldError>;

    /// What must be distinct within a batch.
    fn key(item: &Self::Item) -> Option<String>;

    /// Writes a batch. Items that cannot be written are told to `progress`, the others are written.
    async fn write(&self, batch: Vec<(u64, Self::Item)>, progress: &mut Progress) -> anyhow::Result<()>;
}

struct Users(UserService);

impl Target for Users {
    type Item = ExternalUser;

    fn check(_: &ExternalUser) -> Result<(), FieldError> {
        Ok(())
    }

    fn key(user: &ExternalUser) -> Option<String> {
        Some(user.external_id.to_string())
    }

    async fn write(&self, batch: Vec<(u64, ExternalUser)>, progress: &mut Progress) -> anyhow::Result<()> {
        let users = batch.into_iter().map(|(_, user)| user).collect();
        let upserts = self.0.upsert_all(users, None).await?;
        progress.add("created", upserts.created);
        progress.add("updated", upserts.updated);
        progress.add("unchanged", upserts.unchanged);
        Ok(())
    }
}

struct Activities(ActivityService);

impl Target for Activities {
    type Item = NewActivity;

    fn check(activity: &NewActivity) -> Result<(), FieldError> {
        UserRef::of_members(activity.user_id, activity.external_user_id.as_ref()).map(drop)
    }

    /// The service compares equal ids of a batch itself.
    fn key(_: &NewActivity) -> Option<String> {
        None
    }

    async fn write(&self, mut batch: Vec<(u64, NewActivity)>, progress: &mut Progress) -> anyhow::Result<()> {
        while !batch.is_empty() {
            let activities = batch.iter().map(|(_, activity)| activity.clone()).collect();
            let faults = match self.0.record(activities, None).await {
                Ok(recorded) => {
                    progress.add("recorded", recorded.recorded);
                    progress.add("duplicates", recorded.duplicates);
                    return Ok(());
                }
                Err(
                    ActivityError::Invalid(faults)
                    | ActivityError::Conflict(faults)
                    | ActivityError::SourceTaken(faults),
                ) => faults,
                Err(error) => return Err(error.into()),
            };
            let mut bad = HashSet::new();
            for fault in faults {
                if let Some((line, _)) = batch.get(fault.index)
                    && bad.insert(fault.index)
                {
                    progress.bad(*line, &format!("/{}: {}", fault.field, fault.message));
                }
            }
            anyhow::ensure!(!bad.is_empty(), "a batch was refused without a reason");
            let mut index = 0;
            batch.retain(|_| {
                index += 1;
                !bad.contains(&(index - 1))
            });
        }
        Ok(())
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct CodeLine {
    #[garde(skip)]
    code: RewardCode,
}

/// Codes of one reward.
struct Codes {
    rewards: RewardService,
    reward: Uuid,
}

impl Target for Codes {
    type Item = CodeLine;

    fn check(_: &CodeLine) -> Result<(), FieldError> {
        Ok(())
    }

    /// The service counts repetitions.
    fn key(_: &CodeLine) -> Option<String> {
        None
    }

    async fn write(&self, batch: Vec<(u64, CodeLine)>, progress: &mut Progress) -> anyhow::Result<()> {
        let codes = batch.into_iter().map(|(_, line)| line.code).collect();
        let imported = self.rewards.import_codes(self.reward, codes).await?;
        progress.add("imported", imported.imported);
        progress.add("duplicates", imported.duplicates);
        Ok(())
    }
}

pub(crate) async fn users(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let users = Users(meed_host::app::users(config, &db, &Clock::System)?);
    let importing = import(&users, arguments, MAX_UPSERTS);
    let code = audit::run_as(Arc::new(Origin::command("meed users import")), importing).await;
    db.close().await;
    code
}

pub(crate) async fn activities(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let activities = Activities(meed_host::app::activities(config, &db, &Clock::System));
    let importing = import(&activities, arguments, MAX_BATCH);
    let code = audit::run_as(Arc::new(Origin::command("meed activities import")), importing).await;
    db.close().await;
    code
}

pub(crate) async fn codes(config: &Config, arguments: &CodesArguments) -> anyhow::Result<ExitCode> {
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let codes = Codes {
        rewards: meed_host::app::rewards(config, &db, &Clock::System)?,
        reward: arguments.reward,
    };
    let importing = import(&codes, &arguments.file, MAX_CODES);
    let code = audit::run_as(Arc::new(Origin::command("meed codes import")), importing).await;
    db.close().await;
    code
}

async fn import<T: Target>(target: &T, arguments: &Arguments, most: usize) -> anyhow::Result<ExitCode> {
    let mut source = Source::open(arguments)?;
    let mut progress = Progress::default();
    let mut batch: Vec<(u64, T::Item)> = Vec::new();
    let mut keys = HashSet::new();
    let mut last = None;
    while let Some(Line { number, json }) = source.next()? {
        if number < arguments.from_line {
            continue;
        }
        progress.read();
        let item = json.and_then(|json| read::<T>(&json));
        let item = match item {
            Ok(item) => item,
            Err(reason) => {
                progress.bad(number, &reason);
                if arguments.strict {
                    // The import continues with this line, once it is corrected.
                    last = None;
                    break;
                }
                last = Some(number);
                continue;
            }
        };
        let repeats = T::key(&item).is_some_and(|key| !keys.insert(key));
        if repeats || batch.len() == most {
            write(target, &mut batch, &mut progress).await?;
            if arguments.strict && progress.has_bad() {
                last = None;
                break;
            }
            keys.clear();
            keys.extend(T::key(&item));
        }
        batch.push((number, item));
        last = Some(number);
    }
    write(target, &mut batch, &mut progress).await?;
    if let Some(last) = last {
        progress.through(last);
    }
    progress.end();
    Ok(if progress.has_bad() {
        ExitCode::from(SOME_BAD)
    } else {
        ExitCode::SUCCESS
    })
}

async fn write<T: Target>(target: &T, batch: &mut Vec<(u64, T::Item)>, progress: &mut Progress) -> anyhow::Result<()> {
    let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
        return Ok(());
    };
    let (first, last) = (*first, *last);
    let written = target.write(std::mem::take(batch), progress).await;
    written.with_context(|| format!("the import ended; continue it with --from-line {first}"))?;
    progress.through(last);
    progress.show();
    Ok(())
}

/// The item of a line, or the reason why it is bad.
fn read<T: Target>(json: &[u8]) -> Result<T::Item, String> {
    let item: T::Item = parse_object(json).map_err(|problem| of_one_line(&problem.to_line()))?;
    let fields = item.validate().err().map(|report| field_errors(&report));
    let errors = fields.into_iter().flatten().chain(T::check(&item).err());
    let reasons: Vec<String> = errors.map(|error| error.to_string()).collect();
    if reasons.is_empty() {
        Ok(item)
    } else {
        Err(reasons.join("; "))
    }
}
