//! Activities from a topic: recorded once, offsets committed afterwards, invalid messages dead-lettered with a reason.

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::Engine;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{ACTIVITIES, DEAD, GROUP, Running, committed, until};
use crate::support::{Broker, TestApp, on_both_engines};

const REPORTED: &str = "SELECT COUNT(*) FROM activities WHERE source <> 'meed'";

fn purchase(id: &str, user: &str) -> Value {
    json!({"source": "shop", "id": id, "userId": user, "kind": "shop.purchase", "amount": 2500})
}

/// Produces messages as a shop does, keyed by user.
async fn produce(broker: &Broker, user: &str, values: &[Value]) {
    let messages = values
        .iter()
        .map(|value| (user.to_owned(), value.to_string().into_bytes()));
    broker.produce(ACTIVITIES, messages).await;
}

async fn broker() -> Broker {
    let broker = Broker::start().await;
    broker.topic(ACTIVITIES).await;
    broker.topic(DEAD).await;
    broker
}

#[apply(on_both_engines)]
async fn activities_are_recorded_once_and_invalid_messages_are_dead_lettered(app: TestApp) {
    let broker = broker().await;
    let user = app.user(Role::User).await.id;
    let nobody = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    let many: Vec<Value> = (0..1001).map(|number| purchase(&format!("m{number}"), &user)).collect();
    produce(
        &broker,
        &user,
        &[
            purchase("1", &user),
            json!([purchase("2", &user), purchase("3", &user)]),
            // The same activity again, alone and in a batch.
            purchase("1", &user),
            json!([purchase("3", &user), purchase("4", &user)]),
            // A message is recorded completely or not at all.
            json!([purchase("lost", &user), purchase("5", nobody)]),
            json!({"source": "meed", "id": "6", "userId": user, "kind": "shop.purchase"}),
            json!({"source": "shop", "id": "7", "userId": user, "kind": "auth.login"}),
            json!({"source": "shop", "id": "1", "userId": user, "kind": "shop.purchase", "amount": 1}),
            json!(many),
        ],
    )
    .await;
    let odd: [(&str, &[u8]); 3] = [("a", b"{\"source\": "), ("b", b""), ("c", b"\xff\xfe")];
    broker
        .produce(ACTIVITIES, odd.map(|(key, value)| (key.to_owned(), value.to_vec())))
        .await;
    let large = json!({"source": "shop", "id": "x".repeat(900_000), "userId": user, "kind": "k"});
    produce(&broker, &user, &[large, purchase("8", &user)]).await;

    let consumer = Running::consumer(&app, &broker);
    until(&app, REPORTED, 5).await;
    let dead = broker.read(DEAD, 9).await;
    let why = |what: &str| {
        let found = dead
            .iter()
            .find(|letter| String::from_utf8_lossy(&letter.value).contains(what));
        let letter = found.unwrap_or_else(|| panic!("{what} is not among {dead:?}"));
        (
            letter.header("meed-code").to_owned(),
            letter.header("meed-detail").to_owned(),
        )
    };
    for (what, code, says) in [
        (
            "\"lost\"",
            "invalid-body",
            format!("/1/userId: there is no user {nobody}"),
        ),
        (
            "\"6\"",
            "invalid-body",
            "/source: \"meed\" is reserved for the server".to_owned(),
        ),
        ("\"7\"", "invalid-body", "/kind: \"auth.login\" is reserved".to_owned()),
        (
            "\"amount\":1,",
            "activity-conflict",
            "/amount: shop reported \"1\" before with a different amount".to_owned(),
        ),
        ("\"m1000\"", "invalid-body", "there are 1001 activities".to_owned()),
        ("{\"source\": ", "malformed-json", "not valid JSON".to_owned()),
        ("xxxx", "invalid-body", "/id: ".to_owned()),
    ] {
        let (is, detail) = why(what);
        assert!(is == code && detail.contains(&says), "{what}: {is} {detail}");
    }
    for letter in &dead {
        assert_eq!(letter.header("meed-topic"), ACTIVITIES);
        let number = |name| letter.header(name).parse::<i64>().expect("a number");
        assert!((0..3).contains(&number("meed-partition")) && (0..14).contains(&number("meed-offset")));
    }
    committed(&broker, ACTIVITIES, 14).await;
    consumer.stop().await;
    assert_eq!(app.count(REPORTED).await, 5);
    // Reading from the beginning again changes nothing.
    let app = app.replica(&[]);
    assert_eq!(broker.read_for(DEAD, 10).await.len(), 9);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM activities WHERE source_id = 'lost'")
            .await,
        0
    );
}

#[apply(on_both_engines)]
async fn a_message_too_long_for_the_dead_letter_topic_is_truncated_and_blocks_nothing(app: TestApp) {
    let broker = broker().await;
    let user = app.user(Role::User).await.id;
    // Longer than the messages that Meed can produce; other producers may allow more.
    let (long_value, long_key) = ("v".repeat(1_040_000), "k".repeat(1_040_000));
    broker
        .produce(
            ACTIVITIES,
            [("a".to_owned(), long_value.into_bytes()), (long_key, b"no".to_vec())],
        )
        .await;
    produce(&broker, &user, &[purchase("1", &user)]).await;
    let consumer = Running::consumer(&app, &broker);
    until(&app, REPORTED, 1).await;
    committed(&broker, ACTIVITIES, 3).await;
    let dead = broker.read(DEAD, 2).await;
    let mut left: Vec<_> = dead
        .iter()
        .map(|letter| (letter.key.len(), letter.value.len()))
        .collect();
    left.sort_unstable();
    assert_eq!(left, [(0, 0), (1, 0)]);
    assert!(dead.iter().all(|letter| letter.header("meed-code") == "malformed-json"));
    consumer.stop().await;
}

#[apply(on_both_engines)]
async fn during_a_database_failure_messages_wait_and_none_is_dead_lettered(app: TestApp) {
    let broker = broker().await;
    let user = app.user(Role::User).await.id;
    let consumer = Running::consumer(&app, &broker);
    produce(&broker, &user, &[purchase("1", &user)]).await;
    until(&app, REPORTED, 1).await;
    committed(&broker, ACTIVITIES, 1).await;
    let mut tx = app.begin().await;
    if app.app.db.engine() == Engine::Postgres {
        tx.query("LOCK TABLE activities IN EXCLUSIVE MODE")
            .execute(&mut tx)
            .await
            .expect("a lock");
    }
    produce(&broker, &user, &[purchase("2", &user), purchase("3", &user)]).await;
    // Longer than a statement waits for a lock, and a call for a connection.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        broker.committed(GROUP, ACTIVITIES),
        1,
        "nothing is committed that was not recorded"
    );
    drop(tx);
    until(&app, REPORTED, 3).await;
    committed(&broker, ACTIVITIES, 3).await;
    assert!(broker.read_for(DEAD, 1).await.is_empty());
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_topic_and_a_stopping_one_hands_over_its_partitions() {
    let app = TestApp::on_postgres().await.in_real_time();
    let broker = broker().await;
    let user = app.user(Role::User).await.id;
    let (first, second) = (Running::consumer(&app, &broker), Running::consumer(&app, &broker));
    let mut sent = 0;
    let mut some = async |count: usize| {
        let messages = (sent..sent + count).map(|number| (number.to_string(), purchase(&number.to_string(), &user)));
        broker
            .produce(
                ACTIVITIES,
                messages.map(|(key, value)| (key, value.to_string().into_bytes())),
            )
            .await;
        sent += count;
    };
    some(100).await;
    until(&app, REPORTED, 100).await;
    some(100).await;
    first.stop().await;
    until(&app, REPORTED, 200).await;
    some(100).await;
    until(&app, REPORTED, 300).await;
    second.stop().await;
    assert_eq!(broker.committed(GROUP, ACTIVITIES), 300);
    assert!(broker.read_for(DEAD, 1).await.is_empty());
}

#[apply(on_both_engines)]
async fn a_message_names_its_user_by_the_external_id(app: TestApp) {
    let broker = broker().await;
    let (admin, user) = (app.token(Role::Admin).await, app.user(Role::User).await.id);
    let known = app.put("/users/external/customer-1").bearer(&admin);
    known.send().await.expect(201);
    let external =
        |id: &str, external: &str| json!({"source": "shop", "id": id, "externalUserId": external, "kind": "k"});
    let both = json!({"source": "shop", "id": "3", "externalUserId": "customer-1", "userId": user, "kind": "k"});
    let messages = [external("1", "customer-1"), external("2", "customer-2"), both];
    produce(&broker, "customer", &messages).await;
    let consumer = Running::consumer(&app, &broker);
    let dead = broker.read(DEAD, 2).await;
    for (letter, says) in dead.iter().zip([
        "/externalUserId: there is no user with the external id \"customer-2\"",
        "/externalUserId: names the user a second time",
    ]) {
        let detail = letter.header("meed-detail");
        assert!(
            letter.header("meed-code") == "invalid-body" && detail.contains(says),
            "{detail}"
        );
    }
    committed(&broker, ACTIVITIES, 3).await;
    consumer.stop().await;
    assert_eq!(app.count(REPORTED).await, 1);
    // With the setting, the message creates the user.
    let app = app.replica(&[("activities.create_unknown_users", "true")]);
    let consumer = Running::consumer(&app, &broker);
    produce(&broker, "customer", &[external("2", "customer-2")]).await;
    until(&app, REPORTED, 2).await;
    consumer.stop().await;
    let path = "/users/external/customer-2";
    app.get(path).bearer(&admin).send().await.expect(200);
}
