//! `ActivityService/Ingest`: parts, their acknowledgements, and how a stream ends. In the framing of Connect, as a client of
//! HTTP/1.1 sends it: the whole request, then the response.

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::call;
use crate::service_keys;
use crate::support::{Call, TestApp, on_both_engines, text};

const INGEST: &str = "/meed.v1.ActivityService/Ingest";
/// The flag of the last message of a response.
pub const END: u8 = 2;

/// A message in its envelope.
pub fn envelope(message: &Value) -> Bytes {
    let message = message.to_string();
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[0][..], &length, message.as_bytes()].concat().into()
}

fn activity(number: usize) -> Value {
    json!({"source": "game", "id": format!("match-{number}"), "externalUserId": "ada", "kind": "match.won"})
}

fn part(numbers: std::ops::Range<usize>) -> Value {
    json!({"activities": numbers.map(activity).collect::<Vec<_>>()})
}

fn ingest(app: &TestApp, token: &str, body: impl Into<Body>) -> Call {
    app.post(INGEST).bearer(token).bytes("application/connect+json", body)
}

/// The messages of a response, the last of which says how the stream ended.
fn messages(bytes: &[u8]) -> Vec<Value> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let [flags, a, b, c, d, after @ ..] = rest {
        let (message, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push(serde_json::from_slice(message).expect("JSON"));
        assert_eq!(*flags == END, next.is_empty(), "the end is the last message");
        rest = next;
    }
    found
}

async fn shop(app: &TestApp) -> String {
    let admin = app.token(Role::Admin).await;
    app.put("/users/external/ada").bearer(&admin).send().await;
    service_keys::secret(app, "game", &["activities:write"]).await
}

async fn recorded(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM activities WHERE kind = 'match.won'")
        .await
}

#[apply(on_both_engines)]
async fn each_part_is_recorded_and_acknowledged(app: TestApp) {
    let key = shop(&app).await;
    let mut second = part(1000..1003);
    second["activities"][1]["kind"] = json!("auth.login");
    second["activities"][2]["userId"] = json!("x");
    second["activities"][2]["externalUserId"].take();
    let body = [part(0..1000), second]
        .iter()
        .map(envelope)
        .collect::<Vec<_>>()
        .concat();
    let reply = ingest(&app, &key, body.clone()).send().await;
    let told = messages(&reply.bytes);
    assert_eq!(told[0], json!({"through": "1000", "recorded": "1000"}));
    let errors = &told[1]["errors"];
    assert_eq!(
        (&told[1]["through"], &told[1]["recorded"], &told[1]["rejected"]),
        (&json!("1003"), &json!("1001"), &json!("2"))
    );
    assert_eq!(
        (&errors[0]["position"], &errors[0]["field"]),
        (&json!("1002"), &json!("kind"))
    );
    assert_eq!(
        (&errors[1]["position"], &errors[1]["field"]),
        (&json!("1003"), &json!("user_id"))
    );
    assert_eq!((told.len(), &told[2]), (3, &json!({})));
    assert_eq!(recorded(&app).await, 1001);
    // Sent again, as after an interruption, from the middle of the file.
    let mut rest = part(0..5);
    rest["after"] = json!("2000");
    let reply = ingest(&app, &key, envelope(&rest)).send().await;
    assert_eq!(messages(&reply.bytes)[0], json!({"through": "2005", "duplicates": "5"}));
}

#[apply(on_both_engines)]
async fn a_client_that_vanishes_leaves_whole_parts(app: TestApp) {
    let key = shop(&app).await;
    let half = &envelope(&part(10..20))[..50];
    let broken = stream::iter([
        Ok(envelope(&part(0..10))),
        Ok(Bytes::copy_from_slice(half)),
        Err(std::io::Error::other("the client left")),
    ]);
    let reply = ingest(&app, &key, Body::from_stream(broken)).send().await;
    let told = messages(&reply.bytes);
    assert_eq!(told[0], json!({"through": "10", "recorded": "10"}));
    assert!(told[1]["error"]["code"].is_string(), "{told:#?}");
    assert_eq!((told.len(), recorded(&app).await), (2, 10));
    // A client that does not wait for the answer.
    let endless = stream::iter([Ok::<_, std::io::Error>(envelope(&part(20..30)))]).chain(stream::pending());
    let mut answer = ingest(&app, &key, Body::from_stream(endless))
        .begin()
        .await
        .into_body()
        .into_data_stream();
    assert!(answer.next().await.is_some_and(|piece| piece.is_ok()));
    drop(answer);
    assert_eq!(recorded(&app).await, 20);
}

#[apply(on_both_engines)]
async fn bad_messages_end_the_stream_with_an_error(app: TestApp) {
    let key = shop(&app).await;
    let mut late = part(10..11);
    late["after"] = json!("5");
    let large = json!({"activities": [{"source": "x".repeat(2 << 20)}]});
    for (bad, code) in [
        (envelope(&json!({})), "invalid_argument"),
        (envelope(&part(0..1001)), "invalid_argument"),
        (envelope(&late), "invalid_argument"),
        (envelope(&large), "resource_exhausted"),
        (envelope(&json!({"activities": 5})), "invalid_argument"),
        (Bytes::from_static(b"\x01\x00\x00\x00\x02{}"), "internal"),
    ] {
        let body = [envelope(&part(0..10)), bad].concat();
        let reply = ingest(&app, &key, body).send().await;
        let told = messages(&reply.bytes);
        assert_eq!(told[0]["through"], "10");
        assert_eq!(told[1]["error"]["code"], code, "{told:#?}");
    }
    assert_eq!(recorded(&app).await, 10);
}

#[apply(on_both_engines)]
async fn few_streams_are_read_at_once(app: TestApp) {
    let key = shop(&app).await;
    let mut open = Vec::new();
    let mut hold = async |key: &str| {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        open.push(ingest(&app, key, endless).begin().await);
    };
    for _ in 0..3 {
        hold(&key).await;
    }
    let refused = messages(&ingest(&app, &key, envelope(&part(0..1))).send().await.bytes);
    assert_eq!(refused[0]["error"]["code"], "resource_exhausted", "{refused:#?}");
    for (name, count) in [("one", 3), ("two", 2)] {
        let other = service_keys::secret(&app, name, &["activities:write"]).await;
        for _ in 0..count {
            hold(&other).await;
        }
    }
    let key = service_keys::secret(&app, "late", &["activities:write"]).await;
    let refused = messages(&ingest(&app, &key, envelope(&part(0..1))).send().await.bytes);
    assert_eq!(refused[0]["error"]["code"], "unavailable", "{refused:#?}");
    let kinds = refused[0]["error"]["details"].as_array().expect("details").iter();
    let kinds: Vec<_> = kinds.map(|detail| text(detail, "type")).collect();
    assert_eq!(kinds, ["google.rpc.ErrorInfo", "google.rpc.RetryInfo"]);
    open.pop();
    let told = messages(&ingest(&app, &key, envelope(&part(0..1))).send().await.bytes);
    assert_eq!(told[0]["recorded"], "1");
    // Who may not report, does not take a place.
    let reply = ingest(&app, &app.token(Role::User).await, envelope(&part(0..1)))
        .send()
        .await;
    assert_eq!(messages(&reply.bytes)[0]["error"]["code"], "permission_denied");
}

#[apply(on_both_engines)]
async fn a_stream_ends_with_its_key(app: TestApp) {
    let app = app.replica(&[("auth.session_cache_seconds", "0")]);
    shop(&app).await;
    let created = service_keys::create(&app, "revoked", &["activities:write"], json!({})).await;
    let body = stream::iter([Ok::<_, std::io::Error>(envelope(&part(0..10)))]).chain(stream::pending());
    let call = ingest(&app, text(&created, "secret"), Body::from_stream(body));
    let mut answer = call.begin().await.into_body().into_data_stream();
    let mut bytes = answer
        .next()
        .await
        .expect("an acknowledgement")
        .expect("bytes")
        .to_vec();
    app.app.check_passes().await.expect("checked");
    let revoke = app.call("DELETE", &format!("/service-keys/{}", text(&created, "id")));
    revoke.bearer(&app.token(Role::Admin).await).send().await.expect(204);
    app.app.check_passes().await.expect("checked");
    while let Some(piece) = answer.next().await {
        bytes.extend_from_slice(&piece.expect("bytes"));
    }
    let told = messages(&bytes);
    assert_eq!(told[0], json!({"through": "10", "recorded": "10"}));
    assert_eq!(told[1]["error"]["code"], "unauthenticated", "{told:#?}");
}

/// Once, because it takes the 30 seconds that a client may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stalls_ends() {
    let app = TestApp::on_sqlite().await;
    let key = shop(&app).await;
    let stalled = stream::iter([Ok::<_, std::io::Error>(envelope(&part(0..10)))]).chain(stream::pending());
    let mut answer = ingest(&app, &key, Body::from_stream(stalled))
        .begin()
        .await
        .into_body()
        .into_data_stream();
    let first = answer.next().await.expect("an acknowledgement").expect("bytes");
    let mut bytes = first.to_vec();
    while let Some(piece) = answer.next().await {
        bytes.extend_from_slice(&piece.expect("bytes"));
    }
    let told = messages(&bytes);
    assert_eq!(told[0], json!({"through": "10", "recorded": "10"}));
    assert_eq!(told[1]["error"]["code"], "deadline_exceeded", "{told:#?}");
    let reply = call(&app, "ActivityService/RecordActivities", &part(10..11))
        .bearer(&key)
        .send()
        .await;
    assert_eq!(reply.expect(200)["recorded"], 1);
}
