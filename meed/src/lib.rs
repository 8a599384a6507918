//! The command line: what each command of `meed` does, and what it prints.
//!
//! Only this crate and `meed-author` print; the server's library logs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to its caller"
)]

mod db;
mod demo;
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

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use secrecy::ExposeSecret as _;

use meed_host::auth::Role;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::db::{Db, Schema};
use meed_host::sandbox;

const SETTINGS: &str = "\
Settings come from the defaults, then the file given with --config, then environment variables, then flags. The variable \
of `listen` in the section `[http]` is MEED__HTTP__LISTEN. docs/operations.md lists all of them.";

/// Rewards decided by sandboxed WebAssembly conditions; every decision is a receipt that anyone can re-run.
#[derive(Debug, Parser)]
#[command(name = "meed", version, after_long_help = SETTINGS)]
struct Cli {
    /// A TOML file with settings; see config.default.toml for all of them
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the embedded default keeps its database, keys and compiled code, instead of ./data
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API
    Serve {
        /// Where to listen, instead of http.listen
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// Bring the database to this release first; with many replicas run `meed migrate` once instead
        #[arg(long)]
        migrate: bool,
    },
    /// Fill an empty database with accounts, activities and events to play with, and serve it
    Demo {
        /// The directory with the bundled plugins' *.wasm, as `cargo xtask plugins` makes it
        #[arg(long, value_name = "DIR")]
        plugins: PathBuf,
        /// Where to listen, instead of http.listen
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Deliver what is in the outbox, to webhooks and Kafka, and nothing else; for servers with outbox.relay = false
    Relay,
    /// Look after what others are told
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Bring the database to this release
    Migrate,
    /// Move to another database
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Manage accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Manage signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write, sign and share rules
    #[command(subcommand)]
    Plugin(meed_author::Command),
    /// Verify a receipt and run its decision again, without a server
    Replay(replay::Arguments),
    /// Print the OpenAPI document
    Openapi,
    /// Print a script that teaches a shell to complete the words of this command line
    Completions { shell: Shell },
    /// Print the man page, or write those of all commands
    Man {
        /// Write a page for each command into this directory instead
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Ask a running server whether it is ready
    Healthcheck {
        /// Where it listens; http.listen unless said
        #[arg(value_name = "ADDRESS")]
        address: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Create an account; the password is the first line of standard input, or generated and printed when that is empty
    Create {
        email: String,
        #[arg(long, default_value = "USER", value_name = "ROLE")]
        role: Role,
    },
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Tell every webhook endpoint, and the topic of Kafka, again what happened since an instant, as long as it is not
    /// forgotten
    Replay {
        /// RFC 3339, such as 2026-03-01T09:30:00Z
        #[arg(long, value_name = "INSTANT")]
        from: Timestamp,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key for access tokens and one for receipts; from the next start on they sign
    Generate {
        /// Make none where there is one already
        #[arg(long)]
        only_missing: bool,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(sandbox::COMPILE_WORKER) {
        // Not for people, and before anything else is set up: it runs under tight limits.
        return sandbox::compile_worker(arguments);
    }
    let cli = Cli::parse();
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
        Config::load(cli.data_dir.as_deref(), cli.config.as_deref(), &overrides).context("the settings are not usable")
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
            let _log = log::start(&config)?;
            runtime.block_on(demo::run(config, plugins))?;
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
        Command::Keys(KeysCommand::Generate { only_missing }) => {
            for path in keys::generate(&load(None)?.keys.directory, &Clock::System, *only_missing)? {
                println!("{}", path.display());
            }
        }
        Command::Plugin(command) => return runtime.block_on(meed_author::run(command)),
        Command::Replay(arguments) => return runtime.block_on(replay::run(arguments)),
        Command::Openapi => println!("{}", runtime.block_on(openapi::document())?),
        Command::Completions { shell } => {
            // Aside first: clap_complete panics when nobody reads on.
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
    db.schema().await.check()?;
    let users = meed_host::app::users(config, &db, &Clock::System)?;
    let given = meed_author::read_password(std::io::stdin().lock()).context("read the password from standard input")?;
    let generated = given.is_none();
    let password = given.unwrap_or_else(|| user::generate_password(&Clock::System));
    let user = user::create(&users, email, password.clone(), role).await?;
    println!("Created {} {} ({})", user.role, user.email, user.id);
    if generated {
        println!("Password: {}", password.expose_secret());
    }
    Ok(())
}

/// Says what came of it.
async fn migrate(config: &Config) -> anyhow::Result<&'static str> {
    let db = connect(config).await?;
    db.migrate().await.context("migrate the database")?;
    let schema = db.schema().await;
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
        // It will hold password hashes and the secrets of draws: for the owner alone.
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private
            .create(directory)
            .with_context(|| format!("create {}", directory.display()))?;
    }
    // The URL may hold a password, so the error does not repeat it.
    Db::connect(url, config.database.max_connections)
        .await
        .context("connect to database.url")
}
