//! A fleet of `meed serve` processes on the database and the keys of a test, which can be killed and restarted.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::TestApp;

/// The maximum time of a start: a debug build on a busy machine is slow.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// How long a process caches its readiness.
const FINDING: Duration = Duration::from_millis(1_100);

/// The number of log lines that a failed test prints.
const LOG_LINES: usize = 60;

pub struct Fleet {
    http: reqwest::Client,
    url: String,
    directory: PathBuf,
    settings: Vec<(String, String)>,
    members: Vec<Member>,
}

struct Member {
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// A new port after every start, because another process may take the port of a dead one.
    address: Mutex<String>,
}

impl Fleet {
    /// Starts `size` processes on the database of `fixtures`.
    pub async fn start(fixtures: &TestApp, size: usize) -> Self {
        Self::start_on(fixtures, &fixtures.database_url(), size, &[]).await
    }

    /// The same, with another database URL (for example a proxy) and settings such as `MEED__LOG__FILTER`.
    pub async fn start_on(fixtures: &TestApp, url: &str, size: usize, settings: &[(&str, &str)]) -> Self {
        let directory = fixtures.directory().to_owned();
        let members = (0..size).map(|number| Member {
            log: directory.join(format!("process-{number}.log")),
            child: Mutex::default(),
            address: Mutex::default(),
        });
        let fleet = Self {
            http: client(),
            url: url.to_owned(),
            members: members.collect(),
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            directory,
        };
        for number in 0..size {
            fleet.revive(number).await;
        }
        fleet
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The address of a process, or its last one if it was killed.
    pub fn address(&self, number: usize) -> String {
        self.members[number].address.lock().expect("no panic before").clone()
    }

    /// The id of a running process.
    pub fn pid(&self, number: usize) -> u32 {
        let child = self.members[number].child.lock().expect("no panic before");
        child.as_ref().expect("the process runs").id()
    }

    pub fn any(&self, rng: &mut fastrand::Rng) -> String {
        self.address(rng.usize(..self.size()))
    }

    /// Kills a process with SIGKILL.
    pub fn kill(&self, number: usize) {
        if let Some(mut child) = self.members[number].child.lock().expect("no panic before").take() {
            child.kill().expect("the process is killed");
            child.wait().expect("the process ends");
        }
    }

    /// Stops a process with SIGTERM, waits for its end and returns its status.
    pub async fn stop(&self, number: usize) -> ExitStatus {
        {
            let child = self.members[number].child.lock().expect("no panic before");
            let child = child.as_ref().expect("the process runs");
            kill_process(Pid::from_child(child), Signal::TERM).expect("the process gets the signal");
        }
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended(number) {
                return status;
            }
            assert!(started.elapsed() < START_PATIENCE, "process {number} does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a process that is not running, and waits until it is ready.
    pub async fn revive(&self, number: usize) {
        let member = &self.members[number];
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let listen = format!("127.0.0.1:{port}");
        *member.child.lock().expect("no panic before") = Some(self.spawn(member, &listen));
        *member.address.lock().expect("no panic before") = format!("http://{listen}");
        self.ready(number, START_PATIENCE).await;
    }

    fn spawn(&self, member: &Member, listen: &str) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&member.log)
            .expect("a log");
        let mut command = program();
        command
            .current_dir(&self.directory)
            .env("MEED__DATABASE__URL", &self.url)
            .env("MEED__KEYS__DIRECTORY", self.directory.join("keys"))
            .env("MEED__PLUGINS__CODE_CACHE_DIRECTORY", self.directory.join("code"))
            .env("MEED__HTTP__ADMIN_LISTEN", "")
            .env("MEED__AUTH__ACCESS_TOKEN_SECONDS", "86400")
            // All clients have the same address, so limits are off.
            .env("MEED__AUTH__REFRESH_GRACE_SECONDS", "0")
            .env("MEED__RELEASES__REQUIRED", "never")
            .env("MEED__LIMITS__ANONYMOUS__BURST", "0")
            .env("MEED__LIMITS__CREDENTIALS__BURST", "0")
            .env("MEED__LIMITS__USER__BURST", "0")
            .env("MEED__LOG__FORMAT", "text")
            // Broken connections are expected; the tests check their effects.
            .env("MEED__LOG__FILTER", "warn,sqlx_core::pool=error")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .args(["serve", "--migrate", "--listen", listen])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("a process starts")
    }

    /// The status of a process that ended unexpectedly.
    fn ended(&self, number: usize) -> Option<ExitStatus> {
        let mut child = self.members[number].child.lock().expect("no panic before");
        let child = child.as_mut()?;
        child.try_wait().expect("a process of ours")
    }

    /// Waits until a running process is ready after a fault, ignoring the cached readiness from before.
    pub async fn ready_again(&self, number: usize, patience: Duration) {
        tokio::time::sleep(FINDING).await;
        self.ready(number, patience).await;
    }

    /// The number of log lines of a process that contain this text.
    pub fn logged(&self, number: usize, text: &str) -> usize {
        let log = std::fs::read_to_string(&self.members[number].log).expect("a log");
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// What a process has logged.
    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(&self.members[number].log).expect("a log")
    }

    /// Waits until a process reports that it is ready, at most for this time.
    pub async fn ready(&self, number: usize, patience: Duration) {
        let url = format!("{}/readyz", self.address(number));
        let started = Instant::now();
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = self.ended(number) {
                panic!("process {number} ended unexpectedly: {status}");
            }
            assert!(
                started.elapsed() < patience,
                "process {number} is not ready after {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (number, member) in self.members.iter().enumerate() {
            if let Some(mut child) = member.child.lock().ok().and_then(|mut child| child.take()) {
                child.kill().ok();
                child.wait().ok();
            }
            if std::thread::panicking() {
                let log = std::fs::read_to_string(&member.log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
                println!("the end of the log of process {number}:\n{}\n", last.join("\n"));
            }
        }
    }
}

/// The client's request timeout.
pub const PATIENCE: Duration = Duration::from_secs(35);

/// The executable without settings: the one in `MEED_TEST_PROGRAM`, for example one that is to be
/// released, or else the one that was built with the tests.
pub fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_meed").into();
    let mut command = Command::new(std::env::var_os("MEED_TEST_PROGRAM").unwrap_or_else(built));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEED__") {
            command.env_remove(name);
        }
    }
    command
}

pub fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    client.build().expect("an HTTP client")
}
