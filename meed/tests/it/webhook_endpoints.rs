//! `/webhook-endpoints`

mod deliveries;

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::webhooks::Relay;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Background, Receiver, Reply, TestApp, TestUser, assert_fault, each, on_both_engines, text, with};

const UNKNOWN: &str = "/webhook-endpoints/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

/// Allows receivers on this machine; tests advance the clock to reach retries.
const SETTINGS: &[(&str, &str)] = &[
    ("webhooks.private_networks", "127.0.0.0/8"),
    ("webhooks.retries", "10s, 10s, 10s"),
    ("webhooks.timeout_seconds", "2"),
];

/// A process that delivers until this is dropped.
pub struct Relaying(Background);

impl Relaying {
    pub fn start(app: &TestApp) -> Self {
        let webhooks = app.app.webhooks.clone();
        Self(Background::start(&app.clock, move || Relay::new(webhooks.clone())))
    }

    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// The same database, with settings for receivers on this machine; and a process on it that delivers.
pub fn relayed(app: &TestApp) -> (TestApp, Relaying) {
    let app = app.replica(SETTINGS);
    let relaying = Relaying::start(&app);
    (app, relaying)
}

pub async fn create(app: &TestApp, body: &Value) -> Reply {
    let token = app.operator().await;
    app.post("/webhook-endpoints").bearer(&token).json(body).send().await
}

/// An endpoint for a receiver, subscribed to all types or to these.
pub async fn endpoint(app: &TestApp, receiver: &Receiver, types: &[&str]) -> Value {
    create(app, &json!({"url": receiver.url, "types": types}))
        .await
        .expect(201)
}

pub fn path(endpoint: &Value) -> String {
    format!("/webhook-endpoints/{}", text(endpoint, "id"))
}

/// The `X-Request-Id` of a claim, which the resulting messages contain.
pub const REQUEST_ID: &str = "checkout-42";

/// A claim, by a new user, on an event that every user can claim once.
pub async fn grant(app: &TestApp, event: &Value) -> (TestUser, Value) {
    let user = app.user(Role::User).await;
    let claim = app.claim(&user.token, event).header("x-request-id", REQUEST_ID);
    let granted = claim.send().await.expect(201);
    assert_eq!(granted["status"], "GRANTED");
    (user, granted)
}

#[apply(on_both_engines)]
async fn an_endpoint_is_created_changed_and_deleted(app: TestApp) {
    let token = app.operator().await;
    let body = json!({"url": "https://shop.example.com/meed", "description": "The shop", "types": ["reward.granted"]});
    let reply = create(&app, &body).await;
    assert_eq!((reply.status.as_u16(), reply.header("etag")), (201, "\"1\""));
    let location = reply.header("location").to_owned();
    let created = reply.expect(201);
    assert!(text(&created, "secret").starts_with("whsec_"));
    let read = app.get(&location).bearer(&token).send().await;
    assert_eq!(read.header("etag"), "\"1\"");
    let read = read.expect(200);
    // The secret is shown once.
    assert_eq!(with(read.clone(), json!({"secret": created["secret"]})), created);
    assert_eq!(read.get("secret"), None);
    assert_eq!(
        (text(&read, "state"), &read["types"], &read["revision"]),
        ("ACTIVE", &json!(["reward.granted"]), &json!(1))
    );

    let put = |etag: &str, body: &Value| {
        app.put(&location)
            .bearer(&token)
            .header("if-match", etag)
            .json(body)
            .send()
    };
    app.put(&location)
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect_problem(428, "revision-required");
    put("\"2\"", &body)
        .await
        .expect_problem(412, "webhook-endpoint-changed");
    let changed = put("\"1\"", &json!({"url": "https://other.example.com:8443/"}))
        .await
        .expect(200);
    assert_eq!(
        (text(&changed, "url"), &changed["types"], &changed["description"]),
        ("https://other.example.com:8443/", &json!([]), &Value::Null)
    );
    let pause = |state: &str| {
        app.patch(&location)
            .bearer(&token)
            .json(&json!({"state": state}))
            .send()
    };
    assert_eq!(pause("PAUSED").await.expect(200)["state"], "PAUSED");
    let again = pause("PAUSED").await.expect(200);
    assert_eq!((&again["state"], &again["revision"]), (&json!("PAUSED"), &json!(3)));
    assert_eq!(pause("ACTIVE").await.expect(200)["revision"], 4);
    pause("BROKEN").await.expect_problem(422, "invalid-body");

    let delete = |etag: &str| app.delete(&location).bearer(&token).header("if-match", etag).send();
    delete("\"3\"").await.expect_problem(412, "webhook-endpoint-changed");
    delete("\"4\"").await.expect(204);
    app.get(&location)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-webhook-endpoint");
    delete("*").await.expect_problem(404, "no-such-webhook-endpoint");
    assert_eq!(app.read("/webhook-endpoints").await["items"], json!([]));
    // Its secret is deleted too.
    assert_eq!(
        app.count("SELECT COUNT(*) FROM webhook_endpoints WHERE LENGTH(secret) > 0")
            .await,
        0
    );
}

#[apply(on_both_engines)]
async fn an_invalid_endpoint_is_refused(app: TestApp) {
    for (pointer, changes) in [
        ("/url", json!({"url": null})),
        ("/url", json!({"url": ""})),
        ("/url", json!({"url": "shop.example.com"})),
        ("/url", json!({"url": "ftp://shop.example.com/"})),
        ("/url", json!({"url": "http://shop.example.com/"})),
        ("/url", json!({"url": "https://shop.example.com:8080/"})),
        ("/url", json!({"url": "https://user:password@shop.example.com/"})),
        ("/url", json!({"url": "https://127.0.0.1/"})),
        ("/url", json!({"url": "https://2130706433/"})),
        ("/url", json!({"url": "https://[::ffff:10.0.0.1]/"})),
        ("/url", json!({"url": "https://169.254.169.254/latest/meta-data"})),
        (
            "/url",
            json!({"url": format!("https://shop.example.com/{}", "x".repeat(2048))}),
        ),
        ("/description", json!({"description": "x".repeat(501)})),
        ("/description", json!({"description": "\u{0}"})),
        ("/types", json!({"types": "reward.granted"})),
        ("/types/1", json!({"types": ["reward.granted", "reward.*"]})),
        ("/types", json!({"types": vec!["reward.granted"; 33]})),
        ("/secret", json!({"secret": "whsec_mine"})),
    ] {
        let body = with(json!({"url": "https://shop.example.com/"}), changes);
        assert_fault(create(&app, &body).await, pointer);
    }
    create(&app, &json!({})).await.expect_problem(422, "invalid-body");
    let token = app.operator().await;
    for path in ["/webhook-endpoints/7", "/webhook-endpoints?pageSize=0"] {
        app.get(path)
            .bearer(&token)
            .send()
            .await
            .expect_problem(400, "invalid-parameter");
    }
    app.get(UNKNOWN)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-webhook-endpoint");
    for action in ["ping", "secret", "redrive"] {
        let call = app.post(&format!("{UNKNOWN}/{action}")).bearer(&token);
        call.send().await.expect_problem(404, "no-such-webhook-endpoint");
    }
}

#[apply(on_both_engines)]
async fn the_number_of_endpoints_is_limited_and_pages_show_each_once(app: TestApp) {
    let mut ids = Vec::new();
    for number in 0..100 {
        app.at(&format!("2026-03-01T12:{:02}:{:02}Z", number / 60, number % 60));
        let created = create(&app, &json!({"url": format!("https://shop.example.com/{number}")}))
            .await
            .expect(201);
        ids.insert(0, text(&created, "id").to_owned());
    }
    let one_more = json!({"url": "https://shop.example.com/"});
    create(&app, &one_more)
        .await
        .expect_problem(409, "webhook-endpoints-full");
    let first = app.read("/webhook-endpoints?pageSize=60").await;
    let second = app
        .read(&format!(
            "/webhook-endpoints?pageSize=60&pageToken={}",
            text(&first, "nextPageToken")
        ))
        .await;
    assert_eq!(
        [each(&first["items"], "id"), each(&second["items"], "id")].concat(),
        ids
    );
    assert_eq!(second.get("nextPageToken"), None);
}

#[apply(on_both_engines)]
async fn a_ping_returns_the_receivers_response_immediately(app: TestApp) {
    let app = app.replica(SETTINGS);
    let token = app.operator().await;
    let receiver = Receiver::answering(|_, _| (200, "thanks\u{7}".to_owned(), Duration::ZERO)).await;
    let created = endpoint(&app, &receiver, &[]).await;
    let ping = || app.post(&format!("{}/ping", path(&created))).bearer(&token).send();
    let pinged = ping().await.expect(200);
    let got = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        (&pinged["delivered"], &pinged["attempt"]["status"]),
        (&json!(true), &json!(200))
    );
    assert_eq!(
        (text(&pinged, "messageId"), &pinged["attempt"]["answer"]),
        (got.id(), &json!("thanks "))
    );
    assert_eq!(got.event["type"], "webhook.ping");
    assert_eq!(got.event["data"]["endpointId"], created["id"]);
    assert!(
        got.is_signed_with(text(&created, "secret"))
            && !got.is_signed_with("whsec_bm90IHRoaXMgb25lLCBub3QgdGhpcyBvbmU=")
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM webhook_deliveries").await, 0);

    // No receiver listens there.
    drop(receiver);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let failed = ping().await.expect(200);
    assert_eq!(
        (&failed["delivered"], &failed["attempt"]["status"]),
        (&json!(false), &Value::Null)
    );
    assert!(failed["attempt"]["error"].is_string(), "{failed}");
    // Later settings also apply to existing endpoints.
    let strict = app.replica(&[]);
    let refused = strict
        .post(&format!("{}/ping", path(&created)))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert!(
        text(&refused["attempt"], "error").contains("leads to an address that is neither public"),
        "{refused}"
    );
}

#[apply(on_both_engines)]
async fn the_previous_secret_also_signs_for_a_day_after_a_rotation(app: TestApp) {
    let app = app.replica(SETTINGS);
    let token = app.operator().await;
    let receiver = Receiver::start().await;
    let created = endpoint(&app, &receiver, &[]).await;
    let first = text(&created, "secret").to_owned();
    let rotate = || app.post(&format!("{}/secret", path(&created))).bearer(&token).send();
    let rotated = rotate().await.expect(200);
    let second = text(&rotated, "secret").to_owned();
    assert_eq!(
        (text(&rotated, "previousSecretUntil"), &rotated["revision"]),
        ("2026-03-02T12:00:00.000Z", &json!(2))
    );
    let signed = async |number: usize, secrets: [&str; 3]| {
        // A token is valid for ten minutes, so a day later the test needs a new one.
        let token = app.operator().await;
        app.post(&format!("{}/ping", path(&created)))
            .bearer(&token)
            .send()
            .await
            .expect(200);
        let got = receiver.wait_for(number).await.remove(number - 1);
        secrets.map(|secret| !secret.is_empty() && got.is_signed_with(secret))
    };
    assert_eq!(signed(1, [&first, &second, ""]).await, [true, true, false]);
    let third = text(&rotate().await.expect(200), "secret").to_owned();
    assert_eq!(signed(2, [&first, &second, &third]).await, [false, true, true]);
    app.at("2026-03-02T12:00:00Z");
    assert_eq!(signed(3, [&first, &second, &third]).await, [false, false, true]);
}
