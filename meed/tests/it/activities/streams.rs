//! NDJSON of any length with `Prefer: handling=lenient`.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt as _;
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::external;
use crate::service_keys::{create, secret};
use crate::support::{Reply, TestApp, on_both_engines, text, with};

fn line(number: usize, changes: Value) -> String {
    let activity =
        json!({"source": "game", "id": format!("match-{number}"), "externalUserId": "c-1", "kind": "match.won"});
    with(activity, changes).to_string()
}

async fn send(app: &TestApp, token: &str, query: &str, body: impl Into<Body>) -> Reply {
    let call = app
        .post(&format!("/activities{query}"))
        .bearer(token)
        .header("prefer", "handling=lenient");
    call.bytes("application/x-ndjson", body).send().await
}

/// The lines of a response.
fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    let lines = reply.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

async fn recorded(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM activities WHERE kind = 'match.won'")
        .await
}

#[apply(on_both_engines)]
async fn each_part_is_recorded_and_told(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "c-1").await;
    let body: String = (0..2500).map(|number| line(number, json!({})) + "\n").collect();
    let told = lines(&send(&app, &operator, "", body.clone()).await);
    let through: Vec<_> = told
        .iter()
        .map(|line| line["through"].as_u64().expect("a number"))
        .collect();
    assert_eq!(through, [1000, 2000, 2500]);
    let last = json!({"through": 2500, "recorded": 2500, "duplicates": 0, "rejected": 0, "errors": [], "done": true});
    assert_eq!(told[2], last);
    assert_eq!((&told[1]["recorded"], &told[1]["done"]), (&json!(2000), &json!(false)));
    assert_eq!(recorded(&app).await, 2500);
    // Sent again, as after an interruption.
    let told = lines(&send(&app, &operator, "", body).await);
    assert_eq!(
        (&told[2]["recorded"], &told[2]["duplicates"]),
        (&json!(0), &json!(2500))
    );
    assert_eq!(recorded(&app).await, 2500);
}

#[apply(on_both_engines)]
async fn invalid_lines_are_told_and_the_others_recorded(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "c-1").await;
    let event = json!({"specversion": "1.0", "id": "e", "source": "/game", "type": "match.won", "subject": "c-1"});
    let lost_event =
        json!({"specversion": "1.0", "id": "l", "source": "/game", "type": "match.won", "subject": "nobody"});
    let bad_event = json!({"specversion": "1.0", "id": "e", "source": "/game", "type": "auth.login", "subject": "c-1"});
    let body = [
        line(1, json!({})),
        String::new(),
        "{\"source\": ".to_owned(),
        line(2, json!({"amount": 0.5})),
        line(3, json!({"externalUserId": "nobody"})),
        line(4, json!({"occurredAt": "2026-03-01T12:05:00.001Z"})),
        line(1, json!({"kind": "match.lost"})),
        event.to_string(),
        bad_event.to_string(),
        lost_event.to_string(),
        line(5, json!({})),
    ];
    let body = format!("\u{feff}{}", body.join("\n"));
    let told = lines(&send(&app, &operator, "?firstLine=101", body).await);
    let [told] = &told[..] else {
        panic!("one part: {told:#?}")
    };
    let errors = told["errors"].as_array().expect("errors").iter();
    let errors: Vec<_> = errors
        .map(|error| (error["line"].as_u64(), text(error, "pointer")))
        .collect();
    let expected = [
        (103, ""),
        (104, "/amount"),
        (105, "/externalUserId"),
        (106, "/occurredAt"),
        (107, "/kind"),
        (109, "/type"),
        (110, "/subject"),
    ];
    assert_eq!(errors, expected.map(|(line, pointer)| (Some(line), pointer)));
    let message = |index: usize| text(&told["errors"][index], "message");
    assert_eq!(
        (message(0), message(1)),
        (
            "The body is not valid JSON: EOF while parsing a value at column 11.",
            "invalid type: floating point `0.5`, expected an integer"
        )
    );
    assert_eq!(
        (&told["through"], &told["recorded"], &told["rejected"], &told["done"]),
        (&json!(111), &json!(3), &json!(7), &json!(true))
    );
    assert_eq!(recorded(&app).await, 3);
    for first in ["0", "1000000000001", "18446744073709551615", "x"] {
        let refused = send(&app, &operator, &format!("?firstLine={first}"), line(6, json!({}))).await;
        refused.expect_problem(400, "invalid-parameter");
    }
}

#[apply(on_both_engines)]
async fn lines_beyond_the_bounds_of_a_key_are_rejected(app: TestApp) {
    let key = create(&app, "shop", &["activities:write"], json!({"sources": ["game"]})).await;
    external(&app, "c-1").await;
    let body = [line(1, json!({})), line(2, json!({"source": "shop"}))].join("\n");
    let told = lines(&send(&app, text(&key, "secret"), "", body).await);
    assert_eq!((&told[0]["recorded"], &told[0]["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(told[0]["errors"][0]["pointer"], "/source");
}

#[apply(on_both_engines)]
async fn a_body_that_breaks_off_says_how_far_it_came(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "c-1").await;
    let long = line(2, json!({"kind": "x".repeat(300 << 10)}));
    let told = lines(
        &send(
            &app,
            &operator,
            "",
            [line(1, json!({})), long, line(3, json!({}))].join("\n"),
        )
        .await,
    );
    assert_eq!(
        (&told[0]["through"], &told[0]["recorded"], &told[0]["done"]),
        (&json!(1), &json!(1), &json!(false))
    );
    assert_eq!(
        (&told[1]["through"], &told[1]["code"]),
        (&json!(1), &json!("body-too-large"))
    );
    assert_eq!(told.len(), 2);
    let broken = futures_util::stream::iter([
        Ok(Bytes::from(line(4, json!({})) + "\n" + "{\"sour")),
        Err(std::io::Error::other("the client left")),
    ]);
    let told = lines(&send(&app, &operator, "", Body::from_stream(broken)).await);
    assert_eq!(
        (&told[0]["through"], &told[1]["code"]),
        (&json!(1), &json!("malformed-json"))
    );
    assert_eq!(recorded(&app).await, 2);
}

/// On a real connection: the answer to the first lines arrives before the last lines are sent.
#[apply(on_both_engines)]
async fn a_pause_records_what_has_arrived(app: TestApp) {
    let app = app.in_real_time();
    let operator = app.token(Role::Operator).await;
    external(&app, "c-1").await;
    let url = app.listen().await;
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), receiver))
    });
    let call = reqwest::Client::new()
        .post(format!("{url}/activities"))
        .bearer_auth(&operator)
        .header("prefer", "handling=lenient")
        .header("content-type", "application/x-ndjson")
        .body(reqwest::Body::wrap_stream(body));
    sender
        .send((line(1, json!({})) + "\n").into())
        .await
        .expect("the server reads");
    let mut answer = call
        .send()
        .await
        .expect("an answer before the end of the body")
        .bytes_stream();
    let next = tokio::time::timeout(Duration::from_secs(20), answer.next());
    let first: Value =
        serde_json::from_slice(&next.await.expect("in time").expect("a line").expect("bytes")).expect("JSON");
    assert_eq!(
        (&first["through"], &first["recorded"], &first["done"]),
        (&json!(1), &json!(1), &json!(false))
    );
    assert_eq!(recorded(&app).await, 1);
    sender.send(line(2, json!({})).into()).await.expect("the server reads");
    drop(sender);
    let mut rest = Vec::new();
    while let Some(piece) = answer.next().await {
        rest.extend_from_slice(&piece.expect("bytes"));
    }
    let last = rest
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty())
        .expect("a line");
    let last: Value = serde_json::from_slice(last).expect("JSON");
    assert_eq!((&last["recorded"], &last["done"]), (&json!(2), &json!(true)));
}

/// A body that sends nothing and does not end.
async fn hold(app: &TestApp, token: &str) -> axum::response::Response {
    let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let call = app
        .post("/activities")
        .bearer(token)
        .header("prefer", "handling=lenient");
    call.bytes("application/x-ndjson", endless).begin().await
}

/// So that slow senders cannot hold all of the server's memory.
#[apply(on_both_engines)]
async fn few_bodies_of_any_length_are_read_at_once(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "c-1").await;
    let mut open = Vec::new();
    for (name, count) in [("one", 3), ("two", 3), ("three", 2)] {
        let key = secret(&app, name, &["activities:write"]).await;
        for _ in 0..count {
            open.push(hold(&app, &key).await);
        }
    }
    send(&app, &operator, "", line(1, json!({})))
        .await
        .expect_problem(503, "overloaded");
    open.pop();
    assert_eq!(
        lines(&send(&app, &operator, "", line(1, json!({}))).await)[0]["recorded"],
        1
    );
}

#[apply(on_both_engines)]
async fn no_principal_holds_most_places(app: TestApp) {
    let key = secret(&app, "shop", &["activities:write"]).await;
    external(&app, "c-1").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(hold(&app, &key).await);
    }
    let refused = send(&app, &key, "", line(1, json!({}))).await;
    refused.expect_problem(429, "too-many-streams");
    let other = app.token(Role::Operator).await;
    assert_eq!(
        lines(&send(&app, &other, "", line(1, json!({}))).await)[0]["recorded"],
        1
    );
    open.pop();
    assert_eq!(
        lines(&send(&app, &key, "", line(2, json!({"source": "shop"}))).await)[0]["recorded"],
        1
    );
}

/// A body that is sent piece by piece, and the lines of its answer.
struct Open {
    sender: mpsc::Sender<Bytes>,
    answer: BodyDataStream,
}

impl Open {
    async fn begin(app: &TestApp, token: &str) -> Self {
        let (sender, receiver) = mpsc::channel::<Bytes>(4);
        let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), receiver))
        });
        let call = app
            .post("/activities")
            .bearer(token)
            .header("prefer", "handling=lenient");
        let call = call.bytes("application/x-ndjson", Body::from_stream(body));
        let answer = call.begin().await.into_body().into_data_stream();
        Self { sender, answer }
    }

    async fn send(&self, text: String) {
        self.sender.send((text + "\n").into()).await.expect("the server reads");
    }

    /// The next line; `None` at the end.
    async fn line(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.answer.next());
        let bytes = next.await.expect("in time")?.expect("bytes");
        Some(serde_json::from_slice(&bytes).expect("JSON"))
    }
}

#[apply(on_both_engines)]
async fn a_stream_ends_when_its_principal_may_not_go_on(app: TestApp) {
    // The copy of a key is as old as that of a session.
    let app = app.replica(&[("auth.session_cache_seconds", "0")]);
    external(&app, "c-1").await;
    let admin = app.token(Role::Admin).await;
    let operator = app.user(Role::Operator).await;
    let settings = |changes: Value| with(json!({"name": "changed", "scopes": ["activities:write"]}), changes);
    let changes = [
        ("DELETE", "", Value::Null),
        ("PUT", "", settings(json!({"scopes": ["rewards:read"]}))),
        (
            "PUT",
            "",
            settings(json!({"scopes": ["activities:write", "rewards:read"]})),
        ),
        ("PUT", "", settings(json!({"sources": ["shop"]}))),
        ("POST", "/rotation", json!({"overlapSeconds": 0})),
        ("PATCH", "", json!({"disabled": true})),
        ("PATCH", "", Value::Null),
    ];
    for (number, (method, below, body)) in changes.into_iter().enumerate() {
        let is_user = method == "PATCH" && !body.is_null();
        let created = create(
            &app,
            &format!("key-{number}"),
            &["activities:write"],
            json!({"expiresAt": "2026-03-01T12:05:00Z"}),
        )
        .await;
        let token = if is_user {
            &operator.token
        } else {
            text(&created, "secret")
        };
        let mut open = Open::begin(&app, token).await;
        // A source belongs to who reports under it first.
        let source = json!({"source": format!("game-{number}")});
        open.send(line(1, source.clone())).await;
        let told = open.line().await.expect("a line");
        assert_eq!(told["recorded"], 1, "{told:#}");
        // Nothing has changed.
        app.app.check_passes().await.expect("checked");
        let path = if is_user {
            format!("/users/{}", operator.id)
        } else {
            format!("/service-keys/{}{below}", text(&created, "id"))
        };
        if method == "PATCH" && body.is_null() {
            // The key expires.
            app.at("2026-03-01T12:05:00Z");
        } else {
            let call = app.call(method, &path).bearer(&admin).header("if-match", "*");
            let body = if method == "PUT" {
                with(body.clone(), json!({"name": format!("key-{number}")}))
            } else {
                body.clone()
            };
            let reply = call.json(&body).send().await;
            assert!(reply.status.is_success(), "{method} {path}: {:#}", reply.json);
        }
        app.app.check_passes().await.expect("checked");
        let end = open.line().await.expect("an end");
        assert_eq!(
            (&end["code"], &end["through"]),
            (&json!("invalid-token"), &json!(1)),
            "{method} {body}"
        );
        assert_eq!(open.line().await, None);
        assert!(open.sender.send(Bytes::from(line(2, source) + "\n")).await.is_err());
    }
    assert_eq!(recorded(&app).await, 7);
}
