//! A server under attack, and what its other clients see meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::faults::fixtures::{daily, points};
use crate::faults::fleet::Fleet;
use crate::support::{TestApp, TestUser};

/// How long `/livez` may take. Other tests share the machine, so one probe and the next may take longer, as an orchestrator
/// tolerates it.
const PROBE: Duration = Duration::from_secs(1);
const LATE_PROBES: usize = 2;
/// How long another user's claim may take.
const CLAIM: Duration = Duration::from_secs(5);
/// Memory that stays in use after an attack: a tenth, and what the allocator keeps of thousands of connections.
const SPARE_BYTES: u64 = 64 << 20;
const SETTLED: Duration = Duration::from_secs(20);

pub struct Target {
    pub fixtures: TestApp,
    fleet: Fleet,
    others: Vec<TestUser>,
    event: Value,
}

impl Target {
    /// Boxed, because the application is large.
    pub fn start<'a>(fixtures: TestApp, settings: &'a [(&'a str, &'a str)]) -> LocalBoxFuture<'a, Self> {
        Box::pin(Self::begin(fixtures, settings))
    }

    async fn begin(fixtures: TestApp, settings: &[(&str, &str)]) -> Self {
        let fixtures = fixtures.in_real_time();
        let url = fixtures.database_url();
        let fleet = Fleet::start_on(&fixtures, &url, 1, settings).await;
        let others = fixtures.crowd(20).await;
        let reward = points(&fixtures, 1).await;
        let event = daily(&fixtures, &[&reward], 1_000).await;
        Self {
            fixtures,
            fleet,
            others,
            event,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fleet.address(0))
    }

    fn host(&self) -> String {
        self.fleet.address(0).trim_start_matches("http://").to_owned()
    }

    /// Connects from this address of the machine, such as 127.0.0.2.
    pub async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let from = format!("{from}:0").parse().expect("an address");
        socket.bind(from).expect("an address of this machine");
        let host = self.host().parse().expect("an address");
        socket.connect(host).await.expect("the server listens")
    }

    /// Sends these bytes, and nothing more.
    pub async fn send(&self, from: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect(from).await;
        // The server may have closed it for another connection.
        stream.write_all(bytes).await.ok();
        stream
    }

    /// Runs the attack while others use the server, and checks what they see.
    pub async fn holds<T>(&self, attack: impl Future<Output = T>) -> T {
        let client = client();
        self.claim(&client, &self.others[0]).await;
        let before = self.resident();
        let over = AtomicBool::new(false);
        let attacked = async {
            let result = attack.await;
            over.store(true, Ordering::Relaxed);
            result
        };
        let watched = async {
            let (mut others, mut late) = (self.others.iter().cycle(), 0);
            let mut turns = 0;
            // At least one turn after the attack.
            while !over.load(Ordering::Relaxed) || turns == 0 {
                late = if self.probe(&client).await { 0 } else { late + 1 };
                assert!(late <= LATE_PROBES, "/livez takes longer than {PROBE:?}");
                let other = others.next().expect("a user");
                self.claim(&client, other).await;
                turns += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (result, ()) = tokio::join!(attacked, watched);
        assert!(
            self.probe(&client).await || self.probe(&client).await,
            "/livez after the attack"
        );
        let most = before + before / 10 + SPARE_BYTES;
        let ended = Instant::now();
        while self.resident() > most {
            assert!(
                ended.elapsed() < SETTLED,
                "{} MiB before, {} MiB after",
                before >> 20,
                self.resident() >> 20
            );
            // The allocator returns memory to the system while it is used.
            for user in &self.others {
                self.claim(&client, user).await;
            }
        }
        result
    }

    /// Whether it is alive, in time. Like the probes of an orchestrator, on a new connection.
    async fn probe(&self, client: &reqwest::Client) -> bool {
        let probe = client.get(self.url("/livez")).send();
        match tokio::time::timeout(PROBE, probe).await {
            Ok(answer) => answer.expect("an answer of /livez").status() == 200,
            Err(_) => false,
        }
    }

    async fn claim(&self, client: &reqwest::Client, user: &TestUser) {
        let body = json!({"eventId": self.event["id"]});
        let claim = client
            .post(self.url("/reward-requests"))
            .bearer_auth(&user.token)
            .json(&body);
        let started = Instant::now();
        let answer = claim.send().await.expect("an answer to a claim");
        assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
        assert!(started.elapsed() < CLAIM, "a claim took {:?}", started.elapsed());
    }

    fn resident(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.fleet.pid(0))).expect("a process");
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .expect("pages");
        pages * rustix::param::page_size() as u64
    }
}

/// Without connections that it keeps.
pub fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.build().expect("an HTTP client")
}

/// What the server still sends, until it closes the connection; `None` if it does not within this time.
pub async fn rest(stream: &mut TcpStream, patience: Duration) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = async {
        let mut piece = vec![0; 64 << 10];
        // A reset ends it as well.
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..length]);
        }
    };
    tokio::time::timeout(patience, read).await.ok()?;
    Some(bytes)
}

/// Lets this process open thousands of connections.
pub fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(16_384, |maximum| maximum.min(16_384)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("more files");
}
