//! Starts the servers. Each one is a process that runs this program with `serve`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use meed_host::app::App;
use meed_host::clock::Clock;
use meed_host::config::Config;
use meed_host::db::Db;
use tempfile::TempDir;

/// The same allocator as in `meed`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The process ends when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) struct Fleet {
    database: String,
    directory: TempDir,
    addresses: Vec<String>,
    processes: Vec<Process>,
    more: Vec<(&'static str, String)>,
}

impl Fleet {
    /// Starts `replicas` servers on this database.
    pub(crate) fn start(database: &str, replicas: usize) -> anyhow::Result<Self> {
        Self::start_with(database, replicas, &[])
    }

    /// The same with additional settings.
    pub(crate) fn start_with(database: &str, replicas: usize, more: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        meed::keys::generate(&directory.path().join("keys"), &Clock::System, false)?;
        let mut fleet = Self {
            database: database.to_owned(),
            directory,
            addresses: Vec::new(),
            processes: Vec::new(),
            more: more.to_vec(),
        };
        for _ in 0..replicas {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let address = format!("127.0.0.1:{port}");
            let mut serve = Command::new(std::env::current_exe()?);
            serve.args(["serve", "--migrate", "--listen", &address]);
            for (key, value) in fleet.settings() {
                serve.env(format!("MEED__{}", key.to_uppercase().replace('.', "__")), value);
            }
            fleet.processes.push(Process(serve.stdout(Stdio::null()).spawn()?));
            wait_until_ready(&address)?;
            fleet.addresses.push(address);
        }
        Ok(fleet)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.directory.path().join(name).display().to_string();
        let mut settings = vec![
            ("database.url", self.database.clone()),
            ("keys.directory", below("keys")),
            ("plugins.code_cache_directory", below("code")),
            ("http.admin_listen", String::new()),
            ("log.filter", "warn".to_owned()),
            // All connections have one address and few users, so rate limits would apply.
            ("limits.anonymous.burst", "0".to_owned()),
            ("limits.user.burst", "0".to_owned()),
            // The fixtures have unlimited rewards, and no second person approves them.
            ("releases.required", "never".to_owned()),
        ];
        settings.extend(self.more.iter().cloned());
        settings
    }

    /// The same application in this process, to create the test data.
    pub(crate) async fn app(&self) -> anyhow::Result<App> {
        let config = Config::load(None, None, &self.settings())?;
        let db = Db::connect(&self.database, 16).await?;
        App::new(&config, db, Clock::System, std::env::current_exe()?)
    }

    pub(crate) fn first(&self) -> Vec<String> {
        self.addresses[..1].to_vec()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }
}

/// A route without a database.
pub(crate) struct Plain {
    address: String,
    _process: Process,
}

impl Plain {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("plain")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut address)?;
        let address = address.trim().to_owned();
        ensure!(!address.is_empty(), "the plain server did not print its address");
        Ok(Self {
            address,
            _process: Process(child),
        })
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }
}

fn wait_until_ready(address: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the server on {address} does not listen")
}

/// A directory in an environment variable of this run.
#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
pub(crate) fn variable(name: &str) -> anyhow::Result<PathBuf> {
    Ok(std::env::var(name)
        .with_context(|| format!("{name} is not set: run it with `cargo xtask bench claim`"))?
        .into())
}
