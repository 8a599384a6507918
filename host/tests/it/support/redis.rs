//! A Redis server of a test's own, on a port of this machine, which forgets everything and can be made to fail.
//!
//! `cargo xtask test` says where the program is in `MEED_TEST_REDIS_SERVER`; without it the test fails, it does not skip.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::TestApp;

pub struct RedisServer {
    program: String,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    process: Child,
}

/// A member of a cluster talks to the others at its port and so much.
const BUS: u16 = 10_000;

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of its own, such as `--cluster-enabled yes`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let program = std::env::var("MEED_TEST_REDIS_SERVER").expect(
            "MEED_TEST_REDIS_SERVER is not set: run the tests with `cargo xtask test`, which installs a Redis server",
        );
        let directory = tempfile::tempdir().expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let port = free_port();
        let process = spawn(&program, port, &directory, &arguments);
        let server = Self {
            program,
            port,
            directory,
            arguments,
            process,
        };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Another process that shares this server, with settings of its own.
    pub async fn replica(&self, app: &TestApp, settings: &[(&str, &str)]) -> TestApp {
        let url = self.url();
        let mut settings = settings.to_vec();
        settings.push(("cache.url", &url));
        let replica = app.replica(&settings);
        is_shared(&replica, true).await;
        replica
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("the server is killed");
        self.process.wait().expect("the server has ended");
    }

    /// At the same place, and empty.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.program, self.port, &self.directory, &self.arguments);
        self.answers().await;
    }

    /// It keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the server gets the signal");
    }

    /// What the server answers to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &str, arguments: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).expect("a client");
        // Patient, because a test may have made the server slow.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        let mut connection = connection.await.expect("a connection");
        let mut command = redis::cmd(command);
        for argument in arguments {
            command.arg(*argument);
        }
        command.query_async(&mut connection).await.expect("an answer")
    }

    /// The names of what is kept under this prefix.
    pub async fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self.ask("KEYS", &[format!("{prefix}*").as_bytes()]).await;
        names.sort();
        names
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).expect("a client");
        let started = Instant::now();
        while client.get_multiplexed_async_connection().await.is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "the Redis server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Also ends one that is paused. A test that killed it has waited for it already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Waits until a process shares, or knows that it does not.
pub async fn is_shared(app: &TestApp, shared: bool) {
    let started = Instant::now();
    while app.app.cache.is_shared() != shared {
        assert!(started.elapsed() < Duration::from_secs(20), "Redis: still {}", !shared);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One of which the bus is a port, too.
pub fn free_port() -> u16 {
    loop {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        if port < u16::MAX - BUS {
            return port;
        }
    }
}

fn spawn(program: &str, port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} (MEED_TEST_REDIS_SERVER): {error}"))
}
