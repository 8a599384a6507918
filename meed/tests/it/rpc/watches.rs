//! The methods that watch: what they tell, and what ends them. In the framing of Connect

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use buffa::Message as _;
use futures_util::StreamExt as _;
use meed_host::auth::Role;
use meed_proto::google::rpc::{ErrorInfo, RetryInfo};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::streams::{END, envelope};
use super::{answer, assert_same};
use crate::faults::fixtures::{daily, points};
use crate::reward_requests::received::Working;
use crate::service_keys;
use crate::support::{Background, TestApp, bundled, on_both_engines, text, with};

const ONE: &str = "ClaimService/WatchRewardRequest";
const ALL: &str = "ClaimService/WatchRewardRequests";
const PROGRESS: &str = "ProgressService/WatchProgress";

/// The maximum time for a message to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stream is observed that must say nothing.
const QUIET: Duration = Duration::from_millis(1_500);

/// A client of one stream.
struct Watcher {
    pieces: BodyDataStream,
    read: Vec<u8>,
}

impl Watcher {
    /// In the process, so that no socket buffers what the client does not read.
    async fn open(app: &TestApp, token: &str, method: &str, message: Value) -> Self {
        let call = app.post(&format!("/meed.v1.{method}")).bearer(token);
        let call = call.bytes("application/connect+json", envelope(&message));
        let response = call.begin().await;
        assert_eq!(response.status(), 200);
        Self::of(response.into_body())
    }

    fn of(body: Body) -> Self {
        Self {
            pieces: body.into_data_stream(),
            read: Vec::new(),
        }
    }

    /// The next message: its flags, and what it says.
    async fn next(&mut self) -> (u8, Value) {
        loop {
            if let [flags, a, b, c, d, rest @ ..] = self.read.as_slice() {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if let Some(message) = rest.get(..length) {
                    let found = (*flags, serde_json::from_slice(message).expect("JSON"));
                    self.read.drain(..length + 5);
                    return found;
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.pieces.next()).await;
            let piece = piece.expect("the stream says something").expect("a message");
            self.read.extend_from_slice(&piece.expect("a piece"));
        }
    }

    async fn message(&mut self) -> Value {
        let (flags, message) = self.next().await;
        assert_eq!(flags, 0, "{message:#}");
        message
    }

    async fn is_quiet(&mut self) {
        if let Ok(said) = tokio::time::timeout(QUIET, self.next()).await {
            panic!("unexpected: {said:?}");
        }
    }

    /// What the stream ends with, after messages that were on their way.
    async fn end(&mut self) -> Value {
        loop {
            if let (END, end) = self.next().await {
                return end;
            }
        }
    }

    /// Asserts that the stream ends with this code and reason. Returns when to watch again, if the error says it.
    async fn ends(&mut self, code: &str, reason: &str) -> Option<Duration> {
        let end = self.end().await;
        let error = &end["error"];
        assert_eq!(error["code"], code, "{end:#}");
        let detail = |kind: &str| {
            let details = error["details"].as_array().expect("details");
            let found = details.iter().find(|detail| detail["type"] == kind)?;
            Some(STANDARD_NO_PAD.decode(text(found, "value")).expect("base64"))
        };
        let info = detail("google.rpc.ErrorInfo").expect("an ErrorInfo");
        let info = ErrorInfo::decode_from_slice(&info).expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "meed"));
        assert!(info.metadata.contains_key("requestId"), "{info:?}");
        let retry = RetryInfo::decode_from_slice(&detail("google.rpc.RetryInfo")?).expect("a RetryInfo");
        let delay = retry.retry_delay.as_option().expect("a delay").clone();
        let seconds = u64::try_from(delay.seconds).expect("a time to come");
        Some(Duration::new(
            seconds,
            u32::try_from(delay.nanos).expect("a time to come"),
        ))
    }
}

/// The task that reads the outbox.
pub fn reader(app: &TestApp) -> Background {
    let watch = app.app.watch.clone();
    Background::start(&app.clock, move || watch.reader())
}

/// A user gets many grants a day.
async fn generous(app: &TestApp) -> Value {
    let many = json!({"recurrence": {"period": "DAILY", "count": 100}});
    app.event("first-come", json!({}), many).await
}

async fn claims(app: &TestApp, token: &str, event: &Value) -> Value {
    app.claim(token, event).send().await.expect(201)
}

#[apply(on_both_engines)]
async fn grants_arrive_and_a_cursor_continues_after_them(app: TestApp) {
    let _reader = reader(&app);
    let event = generous(&app).await;
    let (user, other) = (app.user(Role::User).await, app.token(Role::User).await);
    let key = service_keys::secret(&app, "shop", &["claims:read"]).await;
    let mut own = Watcher::open(&app, &user.token, ALL, json!({})).await;
    let mut shop = Watcher::open(&app, &key, ALL, json!({"userId": user.id})).await;
    let mut foreign = Watcher::open(&app, &other, ALL, json!({})).await;
    let begun = own.message().await;
    assert_eq!(begun, json!({"cursor": begun["cursor"]}));
    for watcher in [&mut shop, &mut foreign] {
        watcher.message().await;
    }
    let granted = claims(&app, &user.token, &event).await;
    let told = own.message().await;
    assert_same(&told["rewardRequest"], &granted);
    assert_eq!(shop.message().await["rewardRequest"]["id"], granted["id"]);
    drop(own);
    // While the client is away.
    let second = claims(&app, &user.token, &event).await;
    for (since, missed) in [(&begun, vec![&granted, &second]), (&told, vec![&second])] {
        let since = json!({"cursor": since["cursor"]});
        let mut resumed = Watcher::open(&app, &user.token, ALL, since.clone()).await;
        assert_eq!(resumed.message().await, since);
        let mut found = BTreeSet::new();
        for _ in &missed {
            found.insert(text(&resumed.message().await["rewardRequest"], "id").to_owned());
        }
        // Changes of one instant have no order.
        let missed: BTreeSet<_> = missed.iter().map(|request| text(request, "id").to_owned()).collect();
        assert_eq!(found, missed);
        resumed.is_quiet().await;
    }
    foreign.is_quiet().await;
}

#[apply(on_both_engines)]
async fn a_pending_claim_is_watched_until_its_decision(app: TestApp) {
    let _reader = reader(&app);
    let event = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    let sync = generous(&app).await;
    let user = app.user(Role::User).await;
    let queued = answer(&app, &user.token, "ClaimService/Claim", json!({"eventId": event["id"]})).await;
    let id = json!({"id": queued["rewardRequest"]["id"]});
    let mut watcher = Watcher::open(&app, &user.token, ONE, id.clone()).await;
    assert_same(&watcher.message().await["rewardRequest"], &queued["rewardRequest"]);
    // Another request of the same user.
    claims(&app, &user.token, &sync).await;
    watcher.is_quiet().await;
    let _working = Working::start(&app);
    let decided = watcher.message().await;
    assert_eq!(decided["rewardRequest"]["status"], "GRANTED");
    assert_eq!(watcher.end().await, json!({}));
    // One that is decided already.
    let mut late = Watcher::open(&app, &user.token, ONE, id.clone()).await;
    assert_eq!(late.message().await, decided);
    assert_eq!(late.end().await, json!({}));
    let stranger = app.token(Role::User).await;
    let mut refused = Watcher::open(&app, &stranger, ONE, id).await;
    refused.ends("not_found", "no-such-reward-request").await;
}

#[apply(on_both_engines)]
async fn progress_changes_after_an_activity(app: TestApp) {
    let _reader = reader(&app);
    let plugin = app.install(bundled("activity-count")).await;
    let params = json!({"kind": "shop.purchase", "count": 5});
    let event = app.event_on(&plugin, params, json!({})).await;
    let user = app.user(Role::User).await;
    let watch = json!({"eventId": event["id"]});
    let mut watcher = Watcher::open(&app, &user.token, PROGRESS, watch.clone()).await;
    let path = format!("/events/{}/progress", text(&event, "id"));
    let first = watcher.message().await;
    let of_rest = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_same(&first["progress"], &of_rest);
    let activity = json!({"source": "shop", "id": "1", "userId": user.id, "kind": "shop.purchase"});
    let operator = app.operator().await;
    let reply = app.post("/activities").bearer(&operator).json(&activity).send().await;
    assert!(reply.status.is_success(), "{:#}", reply.json);
    let told = watcher.message().await;
    let of_rest = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_same(&told["progress"], &of_rest);
    assert_eq!(told["progress"]["progress"][0]["current"], "1");
    watcher.is_quiet().await;
    // A client that has this progress is not told again.
    let since = with(watch.clone(), json!({"cursor": told["cursor"]}));
    Watcher::open(&app, &user.token, PROGRESS, since).await.is_quiet().await;
    let since = with(watch, json!({"cursor": first["cursor"]}));
    let mut outdated = Watcher::open(&app, &user.token, PROGRESS, since).await;
    assert_eq!(outdated.message().await, told);
}

#[apply(on_both_engines)]
async fn a_watch_that_is_not_allowed_is_refused(app: TestApp) {
    let app = app.replica(&[("streams.max_per_user", "1")]);
    let event = generous(&app).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let user = user.token.as_str();
    let nothing = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    for (token, method, message, code, reason) in [
        ("nonsense", ALL, json!({}), "unauthenticated", "invalid-token"),
        (user, ALL, json!({"userId": other.id}), "permission_denied", "forbidden"),
        (user, ALL, json!({"cursor": "x"}), "invalid_argument", "invalid-body"),
        (user, ONE, json!({"id": nothing}), "not_found", "no-such-reward-request"),
        (
            user,
            PROGRESS,
            json!({"eventId": nothing}),
            "not_found",
            "no-such-event",
        ),
        (
            user,
            PROGRESS,
            json!({"eventId": event["id"], "cursor": "x"}),
            "invalid_argument",
            "invalid-body",
        ),
        (
            user,
            PROGRESS,
            json!({"eventId": event["id"], "userId": other.id}),
            "permission_denied",
            "forbidden",
        ),
    ] {
        let mut refused = Watcher::open(&app, token, method, message).await;
        refused.ends(code, reason).await;
    }
    let _first = Watcher::open(&app, user, ALL, json!({})).await;
    let mut second = Watcher::open(&app, user, PROGRESS, json!({"eventId": event["id"]})).await;
    second.ends("resource_exhausted", "too-many-streams").await;
}

#[apply(on_both_engines)]
async fn the_end_of_a_watch_says_why(app: TestApp) {
    let user = app.user(Role::User).await;
    let event = generous(&app).await;
    for (method, message) in [(ALL, json!({})), (PROGRESS, json!({"eventId": event["id"]}))] {
        let token = app.log_in(&user).await;
        let mut watcher = Watcher::open(&app, &token, method, message).await;
        watcher.message().await;
        app.post("/auth/logout").bearer(&token).send().await.expect(204);
        app.app.check_passes().await.expect("the passes are checked");
        assert_eq!(watcher.ends("unauthenticated", "stream-unauthorized").await, None);
    }
    let brief = app.replica(&[("streams.max_age_seconds", "1")]);
    let mut watcher = Watcher::open(&brief, &user.token, ALL, json!({})).await;
    assert_eq!(watcher.ends("aborted", "stream-age").await, None);
    let mut watcher = Watcher::open(&app, &user.token, ALL, json!({})).await;
    app.app.watch.shut_down();
    let retry = watcher.ends("unavailable", "stream-shutdown").await;
    let retry = retry.expect("a time");
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(7)).contains(&retry),
        "{retry:?}"
    );
    let mut late = Watcher::open(&app, &user.token, ALL, json!({})).await;
    let retry = late.ends("unavailable", "streams-full").await;
    assert!(retry.is_some());
}

#[apply(on_both_engines)]
async fn a_watch_that_is_not_read_ends(app: TestApp) {
    // A fixed clock mints more ids in one millisecond than a cursor holds.
    let app = app.in_real_time();
    let _reader = reader(&app);
    let event = daily(&app, &[&points(&app, 1).await], 100).await;
    let user = app.token(Role::User).await;
    let mut slow = Watcher::open(&app, &user, ALL, json!({})).await;
    let begun = slow.message().await;
    let mut fast = Watcher::open(&app, &user, ALL, json!({})).await;
    fast.message().await;
    for _ in 0..80 {
        claims(&app, &user, &event).await;
        fast.message().await;
    }
    assert_eq!(slow.ends("resource_exhausted", "stream-slow").await, None);
    let mut resumed = Watcher::open(&app, &user, ALL, begun).await;
    resumed.message().await;
    for _ in 0..80 {
        resumed.message().await;
    }
    resumed.is_quiet().await;
}

#[apply(on_both_engines)]
async fn an_idle_watch_gets_empty_messages(app: TestApp) {
    let app = app.replica(&[("streams.heartbeat_seconds", "1")]);
    let _reader = reader(&app);
    let event = generous(&app).await;
    let user = app.token(Role::User).await;
    let mut watcher = Watcher::open(&app, &user, ALL, json!({})).await;
    watcher.message().await;
    for _ in 0..2 {
        assert_eq!(watcher.message().await, json!({}));
    }
    let granted = claims(&app, &user, &event).await;
    let told = loop {
        let message = watcher.message().await;
        if message != json!({}) {
            break message;
        }
    };
    assert_eq!(told["rewardRequest"]["id"], granted["id"]);
}

/// Over HTTP/1.1, whose connection then carries nothing else.
#[apply(on_both_engines)]
async fn a_watch_takes_no_place_of_other_connections(app: TestApp) {
    let app = app.replica(&[("http.max_connections_per_address", "2")]);
    let _reader = reader(&app);
    let event = generous(&app).await;
    let user = app.token(Role::User).await;
    let base = app.listen().await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let open = || {
        let request = client.post(format!("{base}/meed.v1.{ALL}")).bearer_auth(&user);
        let request = request.header("content-type", "application/connect+json");
        request.body(envelope(&json!({}))).send()
    };
    let mut open_streams = Vec::new();
    for _ in 0..2 {
        let answer = open().await.expect("a response");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["connection"], "close");
        let mut watcher = Watcher::of(Body::from_stream(answer.bytes_stream()));
        watcher.message().await;
        open_streams.push(watcher);
    }
    let refused = open().await.expect("a response");
    let mut refused = Watcher::of(Body::from_stream(refused.bytes_stream()));
    assert!(refused.ends("unavailable", "streams-full").await.is_some());
    let claim = client.post(format!("{base}/reward-requests")).bearer_auth(&user);
    let claim = claim.json(&json!({"eventId": event["id"]})).send().await;
    assert_eq!(claim.expect("a response").status(), 201);
    for watcher in &mut open_streams {
        assert_eq!(watcher.message().await["rewardRequest"]["eventId"], event["id"]);
    }
}
