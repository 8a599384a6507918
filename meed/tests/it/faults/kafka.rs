//! Silent brokers and killed processes: messages arrive in the order of each user, and reported
//! activities are recorded once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use meed_host::auth::Role;
use meed_host::db::Engine;
use rstest_reuse::apply;
use serde_json::json;
use uuid::Uuid;

use super::claims::View;
use super::fixtures::{daily, event, limited};
use super::fleet::Fleet;
use super::invariants;
use super::kill::keep_killing;
use super::outbox::RelayProcess;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::seed::size;
use crate::kafka::{ACTIVITIES, CLAIMS, DEAD, GROUP, MESSAGES, committed, record_message, until};
use crate::support::{Broker, TestApp, each, on_both_engines, text};

const REPORTED: &str = "SELECT COUNT(*) FROM activities WHERE source = 'shop'";
const TWICE: &str = "SELECT COUNT(*) FROM (SELECT source_id FROM activities WHERE source = 'shop' \
    GROUP BY source_id HAVING COUNT(*) > 1) AS twice";
const NOT_GRANTED: &str = "SELECT COUNT(*) FROM reward_requests WHERE status <> 'GRANTED'";
const LEFT: &str = "SELECT (SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL) + \
    (SELECT COUNT(*) FROM outbox_topic_messages)";

/// A broker that all clients reach through a proxy.
async fn broker(rng: fastrand::Rng) -> (Broker, Proxy) {
    let mut broker = Broker::absent();
    let proxy = Proxy::start_plain(rng, &broker.address()).await;
    broker.advertise(&proxy.address);
    broker.begin().await;
    for topic in [MESSAGES, ACTIVITIES, CLAIMS, DEAD] {
        broker.topic(topic).await;
    }
    (broker, proxy)
}

async fn report(broker: &Broker, user: &str, numbers: std::ops::Range<usize>) {
    let messages = numbers.map(|number| {
        let id = number.to_string();
        let activity = json!({"source": "shop", "id": id, "userId": user, "kind": "shop.purchase"});
        (id, activity.to_string().into_bytes())
    });
    broker.produce(ACTIVITIES, messages).await;
}

/// Processes that serve HTTP and consume topics.
async fn readers(fixtures: &TestApp, broker: &Broker, size: usize) -> Fleet {
    let settings = [
        ("MEED__KAFKA__BROKERS", broker.brokers()),
        ("MEED__KAFKA__ACTIVITIES_TOPIC", ACTIVITIES),
        ("MEED__KAFKA__CLAIMS_TOPIC", CLAIMS),
        ("MEED__KAFKA__DEAD_LETTER_TOPIC", DEAD),
        ("MEED__KAFKA__GROUP", GROUP),
        ("MEED__HTTP__DRAIN_SECONDS", "0"),
    ];
    Fleet::start_on(fixtures, &fixtures.database_url(), size, &settings).await
}

#[apply(on_both_engines)]
async fn redelivered_messages_after_lost_offsets_change_nothing(app: TestApp) {
    let mut run = Run::begin("A31 kill -9 between the commits of database and offsets");
    let (broker, proxy) = broker(run.round()).await;
    let fixtures = app.in_real_time();
    let user = fixtures.user(Role::User).await.id;
    let fleet = readers(&fixtures, &broker, 1).await;
    report(&broker, &user, 0..1).await;
    until(&fixtures, REPORTED, 1).await;
    committed(&broker, ACTIVITIES, 1).await;

    // The process has received the messages and waits for the database.
    let mut tx = fixtures.begin().await;
    if fixtures.app.db.engine() == Engine::Postgres {
        tx.query("LOCK TABLE activities IN EXCLUSIVE MODE")
            .execute(&mut tx)
            .await
            .expect("a lock");
    }
    report(&broker, &user, 1..40).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.silence();
    drop(tx);
    until(&fixtures, REPORTED, 40).await;
    fleet.kill(0);
    assert!(broker.committed(GROUP, ACTIVITIES) < 40, "the broker does not know");
    fleet.revive(0).await;
    committed(&broker, ACTIVITIES, 40).await;
    assert_eq!((fixtures.count(REPORTED).await, fixtures.count(TWICE).await), (40, 0));
    assert!(broker.read_for(DEAD, 1).await.is_empty());
    run.count("activities", 40);
}

#[apply(on_both_engines)]
async fn messages_arrive_in_order_despite_killed_relays_and_connections(app: TestApp) {
    let mut run = Run::begin("A32 kill -9 of relays and a silent broker");
    let mut rng = run.round();
    let (broker, proxy) = broker(rng.fork()).await;
    let fixtures = app.in_real_time();
    let settings = [
        ("MEED__KAFKA__BROKERS", broker.brokers()),
        ("MEED__KAFKA__MESSAGES_TOPIC", MESSAGES),
    ];
    let count = if fixtures.app.db.engine() == Engine::Postgres {
        2
    } else {
        1
    };
    let mut relays: Vec<_> = (0..count)
        .map(|number| RelayProcess::start_with(&fixtures, number, &settings))
        .collect();
    until(&fixtures, "SELECT COUNT(*) FROM outbox_topics", 1).await;
    let (users, each) = (size(20, 200), size(30, 100));
    let users: Vec<Uuid> = (0..users).map(|_| Uuid::now_v7()).collect();
    // Messages must be in flight whenever a process or connection ends.
    proxy.set(Toxics {
        latency: Duration::from_millis(25),
        ..Toxics::default()
    });
    let telling = async {
        for number in 0..each {
            for user in &users {
                record_message(&fixtures.app.db, *user, number, fixtures.clock.now(), json!(null)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let harming = async {
        for round in 0..size(6, 40) {
            tokio::time::sleep(Duration::from_millis(rng.u64(200..700))).await;
            match round % 3 {
                0 => proxy.silence(),
                1 => proxy.move_to(&broker.address()),
                _ => relays[rng.usize(..count)].kill(),
            }
        }
    };
    tokio::join!(telling, harming);
    let started = Instant::now();
    while fixtures.count(LEFT).await > 0 {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{} are left",
            fixtures.count(LEFT).await
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let total = users.len() * each;
    let records = broker.read_for(MESSAGES, usize::MAX).await;
    let mut numbers: HashMap<&str, Vec<u64>> = HashMap::new();
    let mut ids = HashSet::new();
    for record in &records {
        if ids.insert(record.header("ce_id")) {
            let number = record.json()["number"].as_u64().expect("a number");
            numbers.entry(&record.key).or_default().push(number);
        }
    }
    let order: Vec<u64> = (0..each as u64).collect();
    for user in &users {
        assert_eq!(numbers[user.to_string().as_str()], order, "{user}");
    }
    assert_eq!(ids.len(), total);
    run.count("messages", total);
    run.count("repeats", records.len() - total);
}

#[apply(on_both_engines)]
async fn claims_of_a_topic_are_decided_once_and_in_order_despite_killed_processes(app: TestApp) {
    const STOCK: usize = 40;
    const PLACES: usize = 3;
    let mut run = Run::begin("A34 kill -9 of processes while they read and decide claims of a topic");
    let mut rng = run.round();
    let (broker, _proxy) = broker(rng.fork()).await;
    let fixtures = app.in_real_time();
    let fleet = readers(&fixtures, &broker, 2).await;
    let users = fixtures.crowd(size(200, 800)).await;
    let (scarce, plenty) = (limited(&fixtures, STOCK).await, limited(&fixtures, 1_000_000).await);
    let few = event(&fixtures, &[&scarce], json!({})).await;
    let many = daily(&fixtures, &[&plenty], PLACES).await;
    let mut killer = rng.fork();
    let producing = async {
        for user in &users {
            // The other event is claimed twice with one id.
            let claims = [(&few, "few"), (&many, "one"), (&many, "two"), (&many, "one")].map(|(event, id)| {
                let claim = json!({"id": id, "userId": user.id, "eventId": event["id"]});
                (text(event, "id").to_owned(), claim.to_string().into_bytes())
            });
            broker.produce(CLAIMS, claims).await;
        }
    };
    let (kills, ()) = tokio::join!(keep_killing(&mut killer, &fleet, size(6, 60)), producing);
    let started = Instant::now();
    let group = format!("{GROUP}.claims");
    let sent = i64::try_from(4 * users.len()).expect("a small number");
    while broker.committed(&group, CLAIMS) < sent || fixtures.count("SELECT COUNT(*) FROM pending_claims").await > 0 {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{} of {sent}",
            broker.committed(&group, CLAIMS)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let list = fixtures
        .read(&format!(
            "/reward-requests?pageSize=100&status=GRANTED&eventId={}",
            text(&few, "id")
        ))
        .await;
    let mut granted = each(&list["items"], "userId");
    let mut first: Vec<&str> = users.iter().take(STOCK).map(|user| user.id.as_str()).collect();
    granted.sort_unstable();
    first.sort_unstable();
    assert_eq!(granted, first, "the first users in the topic");
    let rest = i64::try_from(users.len() - STOCK).expect("a small number");
    assert_eq!(
        fixtures.count(NOT_GRANTED).await,
        rest,
        "every other user has one rejection"
    );
    // A second claim of a user while the first is queued is the same claim.
    let all = fixtures
        .count("SELECT COUNT(*) FROM reward_requests WHERE status = 'GRANTED'")
        .await
        - 40;
    let users_count = i64::try_from(users.len()).expect("a small number");
    assert!((users_count..=2 * users_count).contains(&all), "{all}");
    assert!(broker.read_for(DEAD, 1).await.is_empty());
    run.count("claims", 4 * users.len());
    run.count("kills", kills);
    invariants::check(&fixtures, &View::of(Vec::new()), &[&scarce]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reported_activities_are_recorded_once_despite_killed_readers() {
    let mut run = Run::begin("A33 kill -9 of readers of a topic");
    let mut rng = run.round();
    let (broker, proxy) = broker(rng.fork()).await;
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let user = fixtures.user(Role::User).await.id;
    let fleet = readers(&fixtures, &broker, 2).await;
    let (rounds, each) = (size(4, 30), size(250, 1_000));
    for round in 0..rounds {
        let reporting = report(&broker, &user, round * each..(round + 1) * each);
        let harming = async {
            tokio::time::sleep(Duration::from_millis(rng.u64(0..2_000))).await;
            let victim = rng.usize(..fleet.size());
            fleet.kill(victim);
            if rng.bool() {
                proxy.move_to(&broker.address());
            }
            fleet.revive(victim).await;
        };
        tokio::join!(reporting, harming);
    }
    let all = rounds * each;
    let count = i64::try_from(all).expect("a small number");
    let started = Instant::now();
    while fixtures.count(REPORTED).await < count {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{} of {count}",
            fixtures.count(REPORTED).await
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // A cut connection may have made the producer send a message twice.
    let sent = broker.read_for(ACTIVITIES, usize::MAX).await.len();
    committed(&broker, ACTIVITIES, i64::try_from(sent).expect("a small number")).await;
    assert_eq!(
        (fixtures.count(REPORTED).await, fixtures.count(TWICE).await),
        (count, 0)
    );
    assert!(broker.read_for(DEAD, 1).await.is_empty());
    run.count("activities", all);
    run.count("kills", rounds);
}
