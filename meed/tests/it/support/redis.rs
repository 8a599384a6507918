//! A Redis server for one test, on a local port. It keeps no data, and tests can make it fail.
//!
//! `cargo xtask test` sets `MEED_TEST_REDIS_SERVER` to the program. Without it the tests fail; they are not skipped.

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

/// A cluster node's bus port is its port plus this offset.
const BUS: u16 = 10_000;

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With additional arguments, such as `--cluster-enabled yes`.
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

    /// Another process that uses this server, with additional settings.
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

    /// Starts it again on the same port, without data.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.program, self.port, &self.directory, &self.arguments);
        self.answers().await;
    }

    /// Stops the process: connections stay open, but nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the server gets the signal");
    }

    /// The server's response to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &str, arguments: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).expect("a client");
        // A long timeout, because the test may have made the server slow.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        let mut connection = connection.await.expect("a connection");
        let mut command = redis::cmd(command);
        for argument in arguments {
            command.arg(*argument);
        }
        command.query_async(&mut connection).await.expect("an answer")
    }

    /// The names of the keys with this prefix.
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
        // SIGKILL also ends a stopped process. It does no harm if the test has killed it already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Waits until a process is connected to Redis, or has noticed that it is not.
pub async fn is_shared(app: &TestApp, shared: bool) {
    let started = Instant::now();
    while app.app.cache.is_shared() != shared {
        assert!(started.elapsed() < Duration::from_secs(20), "Redis: still {}", !shared);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A free port whose cluster bus port is a valid port too.
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
