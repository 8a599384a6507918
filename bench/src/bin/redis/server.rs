//! A Redis server that can be made to fail, behind a proxy that can add latency.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::fleet::variable;

/// Replaces every value with an invalid one.
const CONFUSE: &str =
    "EVAL \"for _, key in ipairs(redis.call('KEYS', 'meed:*')) do redis.call('SET', key, 'wrong') end\" 0";

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Killed,
    Stopped,
    Slow,
    Flushed,
    RestartedEmpty,
    Wrong,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::Killed,
        Self::Stopped,
        Self::Slow,
        Self::Flushed,
        Self::RestartedEmpty,
        Self::Wrong,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped (SIGSTOP)",
            Self::Slow => "500 ms slower",
            Self::Flushed => "flushed",
            Self::RestartedEmpty => "restarted empty",
            Self::Wrong => "full of wrong values",
        }
    }
}

pub(crate) struct Redis {
    port: u16,
    directory: TempDir,
    process: Child,
    /// Milliseconds of latency in each direction.
    delay: Arc<AtomicU64>,
    way: SocketAddr,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Redis {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let process = spawn(port, &directory)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redis = Self {
            port,
            directory,
            process,
            delay: Arc::default(),
            way: listener.local_addr()?,
        };
        tokio::spawn(accept(listener, port, Arc::clone(&redis.delay)));
        redis.answers().await?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.way)
    }

    pub(crate) async fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.kill(),
            Fault::Stopped => self.signal("-STOP"),
            Fault::Slow => {
                self.delay.store(250, Ordering::Relaxed);
                Ok(())
            }
            Fault::Flushed => self.ask("FLUSHALL").await,
            Fault::RestartedEmpty => {
                self.kill()?;
                self.restart().await
            }
            Fault::Wrong => self.ask(CONFUSE).await,
        }
    }

    pub(crate) async fn mend(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.restart().await,
            Fault::Stopped => self.signal("-CONT"),
            Fault::Slow => {
                self.delay.store(0, Ordering::Relaxed);
                Ok(())
            }
            Fault::Flushed | Fault::RestartedEmpty | Fault::Wrong => Ok(()),
        }
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.port, &self.directory)?;
        self.answers().await
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill {signal} ended with {status}");
        Ok(())
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.ask("PING").await.is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                bail!("the Redis server does not respond");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Sends an inline command.
    async fn ask(&self, command: &str) -> anyhow::Result<()> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        server.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = [0; 64];
        let length = server.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        ensure!(length > 0 && !answer.starts_with('-'), "{command}: {answer}");
        Ok(())
    }
}

fn spawn(port: u16, directory: &TempDir) -> anyhow::Result<Child> {
    let program = variable("MEED_BENCH_REDIS")?;
    Command::new(&program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| program.display().to_string())
}

async fn accept(listener: TcpListener, port: u16, delay: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let delay = Arc::clone(&delay);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
                return;
            };
            client.set_nodelay(true).ok();
            server.set_nodelay(true).ok();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // When one side ends, both are dropped, which closes the connection.
            tokio::select! {
                () = carry(from_client, to_server, &delay) => {}
                () = carry(from_server, to_client, &delay) => {}
            }
        });
    }
}

/// Forwards data with a fixed delay per piece, regardless of how much arrives meanwhile.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: &AtomicU64) {
    let (pieces, mut late) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            if pieces.send((due, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = late.recv().await {
            // The timer has a resolution of milliseconds, and one millisecond is longer than Redis takes.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
