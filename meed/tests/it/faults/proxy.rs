//! A proxy for PostgreSQL that injects network faults: delays, fragmentation, silence, cuts around a commit. Or for
//! Redis, with delays.
//!
//! It parses PostgreSQL's protocol only to detect the messages that commit claims: `COMMIT`, or a statement
//! that writes `reward_requests` and commits itself.

mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as signal;

use watch::Watch;

/// The faults that the proxy injects.
#[derive(Clone, Debug, Default)]
pub struct Toxics {
    /// The probability that a commit or its response is lost, 0 to 1
    pub lost_commits: f64,
    /// Every such commit is cut immediately, while the server finishes it
    pub leave_commits: bool,
    /// The probability of a connection reset at any other message of a client
    pub resets: f64,
    pub latency: Duration,
    /// Forwards everything in pieces of one byte
    pub sliced: bool,
}

/// The point at which a commit is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    BeforeItIsSent,
    /// The server has received it, and the connection closes before the response
    AfterItIsSent,
    /// The server has committed; the response is discarded
    AfterItIsAnswered,
    /// Only the first bytes of the response arrive
    AmidTheAnswer,
}

pub struct Proxy {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    rng: Mutex<fastrand::Rng>,
    toxics: Mutex<Toxics>,
    target: Mutex<String>,
    /// The traffic is PostgreSQL's protocol; otherwise the proxy does not parse it.
    is_postgres: bool,
    cuts: Mutex<usize>,
    /// Connections of earlier generations are cut.
    generation: signal::Sender<u64>,
    /// Connections up to this generation stay open but forward nothing.
    silent: signal::Sender<u64>,
}

impl Proxy {
    /// Starts a proxy for `target`, such as `127.0.0.1:5432`.
    pub async fn start(rng: fastrand::Rng, target: &str) -> Self {
        Self::start_for(rng, target, true).await
    }

    /// Starts a proxy for another protocol, without commit faults.
    pub async fn start_plain(rng: fastrand::Rng, target: &str) -> Self {
        Self::start_for(rng, target, false).await
    }

    async fn start_for(rng: fastrand::Rng, target: &str, is_postgres: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            rng: Mutex::new(rng),
            toxics: Mutex::default(),
            target: Mutex::new(target.to_owned()),
            is_postgres,
            cuts: Mutex::default(),
            generation: signal::Sender::new(1),
            silent: signal::Sender::new(0),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&accepting)));
            }
        });
        Self { address, shared }
    }

    /// `url` with the address of this proxy.
    pub fn before(&self, url: &str) -> String {
        url.replace(
            &self.shared.target.lock().expect("no panic before").clone(),
            &self.address,
        )
    }

    pub fn set(&self, toxics: Toxics) {
        *self.shared.toxics.lock().expect("no panic before") = toxics;
    }

    /// The number of commits cut so far.
    pub fn cuts(&self) -> usize {
        *self.shared.cuts.lock().expect("no panic before")
    }

    /// Cuts all connections; new ones go to `target`.
    pub fn move_to(&self, target: &str) {
        target.clone_into(&mut self.shared.target.lock().expect("no panic before"));
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// All current connections stay open but forward nothing, like a pulled cable. New connections work.
    pub fn silence(&self) {
        let generation = *self.shared.generation.borrow();
        // In this order, because the reverse would cut them.
        self.shared.silent.send_replace(generation);
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

impl Shared {
    fn toxics(&self) -> Toxics {
        self.toxics.lock().expect("no panic before").clone()
    }

    fn happens(&self, rate: f64) -> bool {
        rate > 0.0 && self.rng.lock().expect("no panic before").f64() < rate
    }

    /// The point at which to cut this commit, if any.
    fn cut(&self) -> Option<Cut> {
        let toxics = self.toxics();
        let cut = if toxics.leave_commits {
            Cut::AfterItIsSent
        } else if self.happens(toxics.lost_commits) {
            let cuts = [
                Cut::BeforeItIsSent,
                Cut::AfterItIsSent,
                Cut::AfterItIsAnswered,
                Cut::AmidTheAnswer,
            ];
            cuts[self.rng.lock().expect("no panic before").usize(..cuts.len())]
        } else {
            return None;
        };
        *self.cuts.lock().expect("no panic before") += 1;
        Some(cut)
    }
}

/// Forwards one connection; returning closes both sides.
async fn carry(mut client: TcpStream, shared: Arc<Shared>) {
    let target = shared.target.lock().expect("no panic before").clone();
    let mut generation = shared.generation.subscribe();
    let mut silent = shared.silent.subscribe();
    let born = *generation.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let mut watch = Watch::default();
    let mut cut = None;
    let mut end_of_answer = Vec::new();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(1..) = read else { return };
                let arrived = &asked[..read.unwrap_or_default()];
                if !shared.is_postgres {
                    if pass(&shared, arrived, &mut server).await.is_err() {
                        return;
                    }
                    continue;
                }
                for message in watch.messages(arrived) {
                    if message.commits {
                        cut = shared.cut();
                    } else if shared.happens(shared.toxics().resets) {
                        return;
                    }
                    if matches!(cut, Some(Cut::BeforeItIsSent)) || pass(&shared, &message.bytes, &mut server).await.is_err() {
                        return;
                    }
                    if matches!(cut, Some(Cut::AfterItIsSent)) {
                        return;
                    }
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                let answer = &answered[..length];
                match cut {
                    None => if pass(&shared, answer, &mut client).await.is_err() {
                        return;
                    },
                    Some(Cut::AmidTheAnswer) => {
                        client.write_all(&answer[..length / 2]).await.ok();
                        return;
                    }
                    Some(_) => {
                        end_of_answer.extend_from_slice(answer);
                        if watch::is_ready(&end_of_answer) {
                            return;
                        }
                    }
                }
            }
            Ok(()) = generation.changed() => {}
            Ok(()) = silent.changed() => {}
        }
        if *silent.borrow() >= born {
            // Neither side receives anything any more, not even the close.
            std::future::pending::<()>().await;
        }
        if *generation.borrow() != born && *silent.borrow() < born {
            return;
        }
    }
}

async fn pass(shared: &Shared, bytes: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
    let toxics = shared.toxics();
    if !toxics.latency.is_zero() {
        tokio::time::sleep(toxics.latency).await;
    }
    if !toxics.sliced {
        return to.write_all(bytes).await;
    }
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte)).await?;
    }
    Ok(())
}
