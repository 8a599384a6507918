//! The command line: what each command of `meed` does, and what it prints.
//!
//! Only this crate and `meed-author` print; the server's library logs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints its results"
)]

mod apply;
mod audit;
mod backtest;
pub mod console;
mod db;
mod demo;
mod facts;
mod import;
mod key;
pub mod keys;
mod log;
mod man;
mod openapi;
mod relay;
mod replay;
mod serve;
mod signals;
pub mod user;

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use secrecy::ExposeSecret as _;

use meed_host::audit::{Origin, run_as};
use meed_host::auth::Role;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::db::{Db, Schema};
use meed_host::sandbox;
use meed_host::users::Email;

const SETTINGS: &str = "\
Settings come from the defaults, then the file given with --config, then environment variables, then flags. The variable \
of `listen` in the section `[http]` is MEED__HTTP__LISTEN. docs/operations.md lists all of them.";

/// Rewards decided by sandboxed WebAssembly conditions; every decision is a receipt that anyone can re-run.
#[derive(Debug, Parser)]
#[command(name = "meed", version, after_long_help = SETTINGS)]
struct Cli {
    /// A TOML file with settings; config.default.toml lists all of them
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for the database, keys and compiled code, instead of ./data
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API
    Serve {
        /// The address to listen on, instead of http.listen
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// Migrate the database first; with several replicas, run `meed migrate` once instead
        #[arg(long)]
        migrate: bool,
    },
    /// Create demo accounts, activities and events in an empty database, and serve it
    Demo {
        /// The folder with the bundled plugins (*.wasm), as created by `cargo xtask plugins`
        #[arg(long, value_name = "DIR")]
        plugins: PathBuf,
        /// The address to listen on, instead of http.listen
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Only deliver the messages of the outbox, to webhooks and Kafka; for servers with outbox.relay = false
    Relay,
    /// Manage the messages of the outbox
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Create or upgrade the tables of the database
    Migrate,
    /// Back up, copy or compare databases
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Manage accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Manage service keys, with which programs call the API
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Manage the users of other systems
    #[command(subcommand)]
    Users(UsersCommand),
    /// Manage activities
    #[command(subcommand)]
    Activities(ActivitiesCommand),
    /// Verify what is maintained for users with many activities, or build it again
    #[command(subcommand)]
    Facts(facts::FactsCommand),
    /// Verify the transparency log, or a proof from it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Manage the codes of rewards
    #[command(subcommand)]
    Codes(CodesCommand),
    /// Manage the keys that sign and that seal secrets
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Create, build, test, sign and upload plugins
    #[command(subcommand)]
    Plugin(meed_author::Command),
    /// Replay the past with a condition of an event, on a copy of the database and without a server
    Backtest(backtest::Arguments),
    /// Verify documents that a server signed, without a server
    #[command(subcommand)]
    Verify(backtest::VerifyCommand),
    /// Verify a receipt and run its decision again, without a server
    Replay(replay::Arguments),
    /// Write the rules of a server as YAML: events, rewards, plugins, webhook endpoints and service keys, without secrets
    Export(apply::export::Arguments),
    /// Show what `meed apply` would change. Exit code 0: nothing, 2: something, 1: an error
    Diff(apply::Diffing),
    /// Make a server as YAML files want it
    Apply(apply::Applying),
    /// Print the JSON Schema of the files of `meed apply`, for editors
    Schema,
    /// Print the OpenAPI document
    Openapi,
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print the man page of meed, or write the man pages of all commands
    Man {
        /// Write one page per command to this folder instead
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Check whether a running server is ready
    Healthcheck {
        /// The address of the server [default: http.listen]
        #[arg(value_name = "ADDRESS")]
        address: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Create an account. The password is the first line of standard input; if it is empty, a password is generated and
    /// printed
    Create {
        email: String,
        #[arg(long, default_value = "USER", value_name = "ROLE")]
        role: Role,
    },
    /// Print a token with which the user can set a new password once, within an hour (POST /auth/password-reset)
    ResetPassword { email: String },
    /// Remove the second factor of a user who lost it, with its recovery codes. The user's sessions end
    RemoveTotp { email: String },
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// Create users by external id, and set their attributes, from a file. A second run changes nothing
    Import(import::Arguments),
}

#[derive(Debug, Subcommand)]
enum ActivitiesCommand {
    /// Record activities from a file. A second run changes nothing
    Import(import::Arguments),
}

#[derive(Debug, Subcommand)]
enum CodesCommand {
    /// Import codes of a reward from a file of any length, with a member or column `code`. A second run changes nothing
    Import(import::CodesArguments),
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Send all retained messages since a given time again, to all webhook endpoints and to the Kafka topic
    Replay {
        /// RFC 3339, such as 2026-03-01T09:30:00Z
        #[arg(long, value_name = "INSTANT")]
        from: Timestamp,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create a key for access tokens, one for receipts and one that seals secrets in the database. Servers use them after
    /// the next start
    Generate {
        /// Create a key only if there is none yet
        #[arg(long)]
        only_missing: bool,
    },
    /// List the key files and the ids of their keys, of each kind the one in use first
    List,
    /// Seal all secrets in the database with the newest sealing key. Afterwards older sealing keys can be removed
    Reseal,
}

/// Runs the command of the process arguments.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(sandbox::COMPILE_WORKER) {
        // An internal command. It runs before any other setup, because it has tight resource limits.
        return sandbox::compile_worker(arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed output is no reason to fail.
            let _ = error.print();
            // Not 2, which some commands return to say something else.
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("meed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let load = |listen: Option<&String>| {
        let overrides: Vec<_> = listen
            .map(|listen| ("http.listen", listen.clone()))
            .into_iter()
            .collect();
        Config::load(cli.data_dir.as_deref(), cli.config.as_deref(), &overrides).context("invalid settings")
    };
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    match &cli.command {
        Command::Serve { listen, migrate } => {
            let config = load(listen.as_ref())?;
            let _log = log::start(&config)?;
            runtime.block_on(serve::production(&config, *migrate))?;
        }
        Command::Demo { plugins, listen } => {
            let config = demo::readable(load(listen.as_ref())?);
            let filled = runtime.block_on(demo::fill(&config, plugins))?;
            let _log = log::start(&config)?;
            runtime.block_on(demo::run(config, plugins, filled))?;
        }
        Command::Relay => {
            let config = load(None)?;
            let _log = log::start(&config)?;
            runtime.block_on(relay::run(&config))?;
        }
        Command::Outbox(OutboxCommand::Replay { from }) => {
            println!("{}", runtime.block_on(relay::replay(&load(None)?, *from))?);
        }
        Command::Migrate => {
            let config = load(None)?;
            println!("{}", runtime.block_on(migrate(&config))?);
        }
        Command::Db(command) => runtime.block_on(db::run(command, &load(None)?))?,
        Command::User(UserCommand::Create { email, role }) => {
            runtime.block_on(create_user(&load(None)?, email, *role))?;
        }
        Command::User(UserCommand::ResetPassword { email }) => {
            runtime.block_on(reset_password(&load(None)?, email))?;
        }
        Command::User(UserCommand::RemoveTotp { email }) => {
            runtime.block_on(remove_totp(&load(None)?, email))?;
        }
        Command::Key(command) => runtime.block_on(key::run(command, &load(None)?))?,
        Command::Users(UsersCommand::Import(arguments)) => {
            return runtime.block_on(import::users(&load(None)?, arguments));
        }
        Command::Activities(ActivitiesCommand::Import(arguments)) => {
            return runtime.block_on(import::activities(&load(None)?, arguments));
        }
        Command::Facts(command) => return runtime.block_on(facts::run(command, &load(None)?)),
        Command::Audit(command) => return runtime.block_on(audit::run(command, || load(None))),
        Command::Codes(CodesCommand::Import(arguments)) => {
            return runtime.block_on(import::codes(&load(None)?, arguments));
        }
        Command::Keys(KeysCommand::Generate { only_missing }) => {
            for path in keys::generate(&load(None)?.keys.directory, &Clock::System, *only_missing)? {
                println!("{}", path.display());
            }
        }
        Command::Keys(KeysCommand::List) => {
            for (path, id) in keys::list(&load(None)?.keys.directory)? {
                println!("{id}  {}", path.display());
            }
        }
        Command::Keys(KeysCommand::Reseal) => {
            println!("{}", runtime.block_on(reseal(&load(None)?))?);
        }
        Command::Plugin(command) => return runtime.block_on(meed_author::run(command)),
        Command::Backtest(arguments) => return runtime.block_on(backtest::run(arguments, &load(None)?)),
        Command::Verify(command) => return backtest::verify(command),
        Command::Replay(arguments) => return runtime.block_on(replay::run(arguments)),
        Command::Export(arguments) => runtime.block_on(apply::export::run(arguments))?,
        Command::Diff(arguments) => return runtime.block_on(apply::diff(arguments)),
        Command::Apply(arguments) => return runtime.block_on(apply::apply(arguments)),
        Command::Schema => println!("{:#}", apply::schema()?),
        Command::Openapi => println!("{}", runtime.block_on(openapi::document())?),
        Command::Completions { shell } => {
            // Write to a buffer first, because clap_complete panics if standard output is closed.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "meed", &mut script);
            std::io::stdout().write_all(&script).context("print the script")?;
        }
        Command::Man { directory: None } => std::io::stdout()
            .write_all(&man::page(Cli::command())?)
            .context("print the page")?,
        Command::Man {
            directory: Some(directory),
        } => man::write_all(Cli::command(), directory)?,
        Command::Healthcheck { address } => {
            let address = match address {
                Some(address) => address.clone(),
                None => load(None)?.http.listen.to_string(),
            };
            runtime.block_on(serve::healthcheck(&address))?;
            println!("ready");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create_user(config: &Config, email: &str, role: Role) -> anyhow::Result<()> {
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let users = meed_host::app::users(config, &db, &Clock::System)?;
    let given = meed_author::read_password(std::io::stdin().lock()).context("read the password from standard input")?;
    let generated = given.is_none();
    let password = given.unwrap_or_else(|| user::generate_password(&Clock::System));
    let creating = user::create(&users, email, password.clone(), role);
    let user = run_as(Arc::new(Origin::command("meed user create")), creating).await?;
    println!("Created {} {email} ({})", user.role, user.id);
    if generated {
        println!("Password: {}", password.expose_secret());
    }
    Ok(())
}

async fn reset_password(config: &Config, email: &str) -> anyhow::Result<()> {
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let users = meed_host::app::users(config, &db, &Clock::System)?;
    let email: Email = email.parse().map_err(|error| anyhow::anyhow!("The e-mail {error}."))?;
    let permitting = users.permit_reset_of(&email);
    let reset = run_as(Arc::new(Origin::command("meed user reset-password")), permitting).await?;
    println!("Token: {}", reset.token);
    println!(
        "Valid until {}, for one POST /auth/password-reset with token and newPassword",
        reset.expires_at
    );
    Ok(())
}

async fn remove_totp(config: &Config, email: &str) -> anyhow::Result<()> {
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let users = meed_host::app::users(config, &db, &Clock::System)?;
    let email: Email = email.parse().map_err(|error| anyhow::anyhow!("The e-mail {error}."))?;
    let removing = users.remove_second_factor_of(&email);
    run_as(Arc::new(Origin::command("meed user remove-totp")), removing).await?;
    println!("{email} has no second factor any more, and no sessions.");
    Ok(())
}

/// Returns a summary for the terminal.
async fn reseal(config: &Config) -> anyhow::Result<String> {
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let resealing = meed_host::app::reseal(config, &db, &Clock::System);
    let (resealed, key) = run_as(Arc::new(Origin::command("meed keys reseal")), resealing).await?;
    db.close().await;
    Ok(format!(
        "Sealed {resealed} secrets again. All secrets are sealed with the key {key}."
    ))
}

/// Prints the result.
async fn migrate(config: &Config) -> anyhow::Result<&'static str> {
    let db = connect(config).await?;
    db.migrate().await.context("migrate the database")?;
    let schema = db.schema().await.context("read the table of the migrations")?;
    db.close().await;
    schema.check()?;
    Ok(match schema {
        Schema::Newer => "The database is up to date; a later release migrated it further.",
        _ => "The database is up to date.",
    })
}

async fn connect(config: &Config) -> anyhow::Result<Db> {
    let url = config.database.url.expose_secret();
    if let Some(directory) = url
        .strip_prefix("sqlite:")
        .and_then(|path| std::path::Path::new(path).parent())
    {
        // The database will contain password hashes and the secrets of draws, so only the owner gets access.
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private
            .create(directory)
            .with_context(|| format!("create {}", directory.display()))?;
    }
    // The URL can contain a password, so the error does not include it.
    Db::connect(url, config.database.max_connections)
        .await
        .context("connect to database.url")
}
