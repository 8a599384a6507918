//! Failing receivers, one that always fails, and relays that are killed at random: every grant arrives,
//! with one id, in the order of its user, and healthy receivers are not delayed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use meed_host::db::Engine;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::fixtures::daily;
use super::fleet::program;
use super::run::Run;
use super::seed::{is_long, size};
use crate::support::{Got, Receiver, TestApp, TestUser, on_both_engines, text};

/// Six attempts of a delivery, within one second.
const RETRIES: &str = "50ms, 100ms, 200ms, 300ms, 300ms";
const TRIES: i64 = 6;

/// The number of polls (ten per second) without progress before the test stops waiting.
const PATIENCE: u32 = 600;

/// A `meed relay` process, which can be killed and restarted.
pub(super) struct RelayProcess {
    url: String,
    directory: PathBuf,
    settings: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl RelayProcess {
    fn start(fixtures: &TestApp, number: usize) -> Self {
        Self::start_with(fixtures, number, &[])
    }

    /// Starts it with settings such as `MEED__KAFKA__BROKERS`.
    pub(super) fn start_with(fixtures: &TestApp, number: usize, settings: &[(&str, &str)]) -> Self {
        let directory = fixtures.directory().to_owned();
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut relay = Self {
            url: fixtures.database_url(),
            settings: settings.collect(),
            log: directory.join(format!("relay-{number}.log")),
            directory,
            child: None,
        };
        relay.revive();
        relay
    }

    fn revive(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log");
        let mut command = program();
        let child = command
            .current_dir(&self.directory)
            .env("MEED__DATABASE__URL", &self.url)
            .env("MEED__KEYS__DIRECTORY", self.directory.join("keys"))
            .env("MEED__HTTP__ADMIN_LISTEN", "")
            .env("MEED__WEBHOOKS__PRIVATE_NETWORKS", "127.0.0.0/8")
            .env("MEED__WEBHOOKS__RETRIES", RETRIES)
            .env("MEED__WEBHOOKS__TIMEOUT_SECONDS", "2")
            .env("MEED__LOG__FORMAT", "text")
            .env("MEED__LOG__FILTER", "warn")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .arg("relay")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("a process starts"));
    }

    /// Kills the process with SIGKILL and starts a new one.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
        self.revive();
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            println!("the log of a relay:\n{log}");
        }
    }
}

/// A grant in the response to its claim.
struct Granted {
    request: String,
    at: meed_host::clock::Timestamp,
}

/// Each user claims sequentially, so that the messages have an order.
async fn claims(fixtures: &TestApp, users: &[TestUser], event: &Value, each: usize) -> HashMap<String, Vec<Granted>> {
    const AT_ONCE: usize = 8;
    let mut granted = HashMap::new();
    for some in users.chunks(AT_ONCE) {
        let of_each = some.iter().map(|user| async move {
            let mut grants = Vec::new();
            for _ in 0..each {
                let request = fixtures.claim(&user.token, event).send().await.expect(201);
                assert_eq!(request["status"], "GRANTED");
                grants.push(Granted {
                    request: text(&request, "id").to_owned(),
                    at: text(&request, "decidedAt").parse().expect("an instant"),
                });
            }
            (user.id.clone(), grants)
        });
        granted.extend(join_all(of_each).await);
    }
    granted
}

/// The requests of a receiver, compared with the grants.
#[derive(Debug, Default)]
struct Account {
    delivered: usize,
    missing: usize,
    duplicates: usize,
    order_violations: usize,
    lag_p50: i64,
    lag_p99: i64,
}

fn account(got: &[Got], granted: &HashMap<String, Vec<Granted>>, secret: &str) -> Account {
    let mut account = Account::default();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    // The requests of each user in the order of their first acceptance, with the time.
    let mut taken: HashMap<String, Vec<(String, meed_host::clock::Timestamp)>> = HashMap::new();
    for one in got {
        assert!(one.is_signed_with(secret), "{one:?}");
        let request = text(&one.event["data"], "requestId").to_owned();
        let id = ids.entry(request.clone()).or_insert_with(|| one.id().to_owned());
        assert_eq!(id, one.id(), "the same id at every attempt");
        assert_eq!(one.event["id"], one.id());
        let of_user = taken.entry(text(&one.event, "subject").to_owned()).or_default();
        let is_known = of_user.iter().any(|(known, _)| *known == request);
        if is_known {
            account.duplicates += usize::from((200..300).contains(&one.status));
            continue;
        }
        // The first attempt of a message must follow the acceptance of all earlier ones.
        let place = granted[text(&one.event, "subject")]
            .iter()
            .position(|grant| grant.request == request);
        account.order_violations += usize::from(place != Some(of_user.len()));
        if (200..300).contains(&one.status) {
            of_user.push((request, one.at));
        }
    }
    let mut lags = Vec::new();
    for (user, grants) in granted {
        let taken = taken.remove(user).unwrap_or_default();
        for grant in grants {
            match taken.iter().find(|(request, _)| *request == grant.request) {
                Some((_, at)) => lags.push(at.as_millis() - grant.at.as_millis()),
                None => account.missing += 1,
            }
        }
    }
    lags.sort_unstable();
    account.delivered = lags.len();
    account.lag_p50 = lags.get(lags.len() / 2).copied().unwrap_or_default();
    account.lag_p99 = lags.get(lags.len() * 99 / 100).copied().unwrap_or_default();
    account
}

#[apply(on_both_engines)]
async fn every_grant_is_delivered_despite_killed_relays(app: TestApp) {
    let mut run = Run::begin("A20 kill -9 of relays while receivers fail");
    let mut rng = run.round();
    let (users, each) = (size(200, 1_000), size(5, 10));
    let settings = &[
        ("webhooks.private_networks", "127.0.0.0/8"),
        ("auth.access_token_seconds", "86400"),
    ];
    let fixtures = app.in_real_time().replica(settings);
    let event = daily(
        &fixtures,
        &[&fixtures.reward(json!({"type": "POINT", "value": 5})).await],
        each,
    )
    .await;
    let users = fixtures.crowd(users).await;

    let well = Receiver::start().await;
    let mut chance = rng.fork();
    let flaky = Receiver::answering(move |_, before| {
        // One in five fails, but never so often that a delivery is parked.
        let status = if before < 2 && chance.u8(..5) == 0 { 500 } else { 200 };
        (status, String::new(), Duration::ZERO)
    })
    .await;
    let slow = Receiver::answering(|_, _| (200, String::new(), Duration::from_millis(100))).await;
    let poison = Receiver::answering(|_, _| (500, "never".to_owned(), Duration::ZERO)).await;
    let operator = fixtures.operator().await;
    let mut endpoints = Vec::new();
    for receiver in [&well, &flaky, &slow, &poison] {
        let body = json!({"url": receiver.url, "types": ["reward.granted"]});
        endpoints.push(
            fixtures
                .post("/webhook-endpoints")
                .bearer(&operator)
                .json(&body)
                .send()
                .await
                .expect(201),
        );
    }

    // SQLite is for one process; two writers are enough load.
    let count = if fixtures.app.db.engine() == Engine::Postgres {
        2
    } else {
        1
    };
    let mut relays: Vec<_> = (0..count)
        .map(|number| RelayProcess::start(&fixtures, number))
        .collect();
    let is_done = AtomicBool::new(false);
    let claiming = async {
        let granted = claims(&fixtures, &users, &event, each).await;
        is_done.store(true, Ordering::Relaxed);
        granted
    };
    let kills = size(5, 20);
    let mut killer = rng.fork();
    let killing = async {
        let mut killed = 0;
        while killed < kills {
            tokio::time::sleep(Duration::from_millis(killer.u64(300..900))).await;
            let victim = killer.usize(..relays.len());
            relays[victim].kill();
            killed += 1;
        }
        killed
    };
    let (granted, killed) = tokio::join!(claiming, killing);
    assert!(is_done.load(Ordering::Relaxed) && killed == kills);
    let total = granted.values().map(Vec::len).sum::<usize>();
    let all = i64::try_from(total).expect("a small number");

    // Wait while there is progress, even on a slow machine.
    let (mut patience, mut before) = (PATIENCE, i64::MAX);
    loop {
        let open = fixtures
            .count("SELECT COUNT(*) FROM webhook_deliveries WHERE status IN ('WAITING', 'PENDING')")
            .await;
        let unsent = fixtures
            .count("SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL")
            .await;
        if open + unsent == 0 {
            break;
        }
        patience = if open + unsent < before { PATIENCE } else { patience - 1 };
        before = before.min(open + unsent);
        assert!(
            patience > 0,
            "{open} deliveries and {unsent} messages are left, and nothing happens"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{total} grants, {killed} kills, long: {}", is_long());
    let mut slowest = 30_000;
    for (name, receiver, endpoint) in [
        ("slow", &slow, &endpoints[2]),
        ("flaky", &flaky, &endpoints[1]),
        ("well", &well, &endpoints[0]),
    ] {
        let account = account(&receiver.got(), &granted, text(endpoint, "secret"));
        println!("{name}: {} requests, {account:?}", receiver.got().len());
        assert_eq!(
            (account.delivered, account.missing, account.order_violations),
            (total, 0, 0),
            "{name}"
        );
        // A kill delays deliveries in flight by one lease; a receiver never waits for another.
        assert!(name != "well" || account.lag_p99 <= slowest, "{account:?}");
        slowest = slowest.max(account.lag_p99);
    }
    assert_eq!(
        fixtures
            .count("SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'PARKED'")
            .await,
        all
    );
    assert_eq!(
        fixtures
            .count("SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'DELIVERED'")
            .await,
        3 * all
    );
    // An attempt that a kill interrupted counts and is repeated.
    let most = TRIES + i64::from(kills);
    assert!((TRIES..=most).contains(&fixtures.count("SELECT MAX(attempts) FROM webhook_deliveries").await));
    // Three of the four receivers accepted each grant, so all are delivered regardless of the fourth.
    assert_eq!(
        fixtures
            .count("SELECT COUNT(*) FROM fulfilments WHERE state = 'DELIVERED'")
            .await,
        all
    );
    assert_eq!(
        fixtures.count("SELECT COUNT(*) FROM grants").await,
        fixtures.count("SELECT COUNT(*) FROM fulfilments").await
    );
    let parked = fixtures
        .read(&format!(
            "/webhook-endpoints/{}/deliveries?status=PARKED",
            text(&endpoints[3], "id")
        ))
        .await;
    assert_eq!(
        parked["items"][0]["lastAttempt"]["error"],
        "answered 500 Internal Server Error"
    );
    println!("poison: {} requests, {all} parked", poison.got().len());
}
