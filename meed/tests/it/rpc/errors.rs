//! Errors: the code, and the details of `google.rpc`

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use buffa::Message as _;
use meed_host::auth::Role;
use meed_proto::google::rpc::{BadRequest, ErrorInfo, RetryInfo};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{answer, call};
use crate::service_keys;
use crate::support::{Reply, TestApp, each, on_both_engines, text};

/// The details of an error.
#[derive(Debug)]
pub struct Details {
    pub info: ErrorInfo,
    pub bad: BadRequest,
    pub retry: RetryInfo,
}

impl Details {
    pub fn fields(&self) -> Vec<&str> {
        self.bad
            .field_violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect()
    }
}

/// Asserts an error of Connect with this status, code and reason, and returns its details.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads well after `send().await`")]
pub fn assert_error(reply: Reply, status: u16, code: &str, reason: &str) -> Details {
    let request_id = reply.header("x-request-id").to_owned();
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(
        (reply.status.as_u16(), text(&reply.json, "code")),
        (status, code),
        "{:#}",
        reply.json
    );
    assert!(!text(&reply.json, "message").is_empty(), "{:#}", reply.json);
    let detail = |kind: &str| {
        let details = reply.json["details"].as_array().cloned().unwrap_or_default();
        let found = details.iter().find(|detail| detail["type"] == kind);
        let bytes = found.map(|detail| STANDARD_NO_PAD.decode(text(detail, "value")).expect("base64"));
        bytes.unwrap_or_default()
    };
    let details = Details {
        info: ErrorInfo::decode_from_slice(&detail("google.rpc.ErrorInfo")).expect("an ErrorInfo"),
        bad: BadRequest::decode_from_slice(&detail("google.rpc.BadRequest")).expect("a BadRequest"),
        retry: RetryInfo::decode_from_slice(&detail("google.rpc.RetryInfo")).expect("a RetryInfo"),
    };
    assert_eq!(
        (details.info.reason.as_str(), details.info.domain.as_str()),
        (reason, "meed"),
        "{:#}",
        reply.json
    );
    assert_eq!(details.info.metadata.get("requestId"), Some(&request_id));
    details
}

#[apply(on_both_engines)]
async fn each_refusal_has_a_code_and_a_reason(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.token(Role::User).await;
    let claim = json!({"eventId": event["id"]});
    let reply = call(&app, "ClaimService/Claim", &claim).send().await;
    assert_error(reply, 401, "unauthenticated", "unauthenticated");
    let reply = call(&app, "ClaimService/Claim", &claim).bearer("nonsense").send().await;
    assert_error(reply, 401, "unauthenticated", "invalid-token");
    let operator = app.operator().await;
    let reply = call(&app, "ClaimService/Claim", &claim).bearer(&operator).send().await;
    assert_error(reply, 403, "permission_denied", "forbidden");
    let nothing = json!({"eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    let reply = call(&app, "ClaimService/Claim", &nothing).bearer(&user).send().await;
    assert_error(reply, 404, "not_found", "no-such-event");
    let reply = call(&app, "ClaimService/Nothing", &claim).bearer(&user).send().await;
    assert_error(reply, 501, "unimplemented", "no-such-route");
    for key in ["", "a b", &"x".repeat(256)] {
        let bad = json!({"eventId": event["id"], "idempotencyKey": key});
        let reply = call(&app, "ClaimService/Claim", &bad).bearer(&user).send().await;
        let error = assert_error(reply, 400, "invalid_argument", "invalid-body");
        assert_eq!(error.fields(), ["idempotency_key"]);
    }
    let reply = call(&app, "ClaimService/Claim", &json!({"eventId": "x"}))
        .bearer(&user)
        .send()
        .await;
    assert_eq!(
        assert_error(reply, 400, "invalid_argument", "invalid-body").fields(),
        ["event_id"]
    );

    let granted = answer(&app, &user, "ClaimService/Claim", claim.clone()).await;
    let reply = call(&app, "ClaimService/Claim", &claim).bearer(&user).send().await;
    let error = assert_error(reply, 409, "already_exists", "already-granted");
    let metadata = &error.info.metadata;
    assert_eq!(json!(metadata["rewardRequestId"]), granted["rewardRequest"]["id"]);
    let grants = json!([granted["rewardRequest"]["grants"][0]["id"]]);
    assert_eq!(metadata["grantIds"], grants.to_string());
    let queued = json!({"eventId": event["id"], "respondAsync": true});
    let other = app.token(Role::User).await;
    let queued = answer(&app, &other, "ClaimService/Claim", queued).await;
    let receipt = json!({"rewardRequestId": queued["rewardRequest"]["id"]});
    let reply = call(&app, "ReceiptService/GetReceipt", &receipt)
        .bearer(&other)
        .send()
        .await;
    assert_error(reply, 400, "failed_precondition", "not-decided");
}

#[apply(on_both_engines)]
async fn each_invalid_activity_is_named(app: TestApp) {
    let key = service_keys::secret(&app, "shop", &["activities:write"]).await;
    let user = app.user(Role::User).await;
    let activity = |changes: Value| {
        let activity = json!({"source": "shop", "id": "1", "userId": user.id, "kind": "shop.purchase"});
        crate::support::with(activity, changes)
    };
    for (changes, field) in [
        (json!({"source": "meed"}), "activities[1].source"),
        (json!({"id": ""}), "activities[1].id"),
        (json!({"kind": "auth.login"}), "activities[1].kind"),
        (json!({"userId": "x"}), "activities[1].user_id"),
        (json!({"userId": user.id.replace('0', "1")}), "activities[1].user_id"),
        (
            json!({"occurredAt": "2026-03-01T12:05:01Z"}),
            "activities[1].occurred_at",
        ),
        (
            json!({"occurredAt": "1969-12-31T23:59:59Z"}),
            "activities[1].occurred_at",
        ),
        (json!({"amount": "1000000000001"}), "activities[1].amount"),
        (json!({"attributes": {"a b": "c"}}), "activities[1].attributes"),
        (
            json!({"attributes": {"a": "x".repeat(257)}}),
            "activities[1].attributes",
        ),
        (json!({"attributes": {"a": "\u{0}"}}), "activities[1].attributes"),
    ] {
        let batch = json!({"activities": [activity(json!({})), activity(changes)]});
        let reply = call(&app, "ActivityService/RecordActivities", &batch)
            .bearer(&key)
            .send()
            .await;
        let error = assert_error(reply, 400, "invalid_argument", "invalid-body");
        assert_eq!(error.fields(), [field], "{error:?}");
    }
    let many: Vec<_> = (0..1001).map(|id| activity(json!({"id": id.to_string()}))).collect();
    for (batch, count) in [(json!([]), "0 activities"), (json!(many), "1001 activities")] {
        let batch = json!({"activities": batch});
        let reply = call(&app, "ActivityService/RecordActivities", &batch)
            .bearer(&key)
            .send()
            .await;
        assert!(text(&reply.json, "message").contains(count), "{:#}", reply.json);
        assert_error(reply, 400, "invalid_argument", "invalid-body");
    }
    assert_eq!(
        app.count("SELECT COUNT(*) FROM activities WHERE source = 'shop'").await,
        0
    );
}

#[apply(on_both_engines)]
async fn what_the_layers_refuse_is_an_error_of_the_protocol(app: TestApp) {
    let user = app.token(Role::User).await;
    let get = json!({"id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    let hurried = app.replica(&[("limits.user.burst", "2"), ("limits.user.per_minute", "1")]);
    for _ in 0..2 {
        let reply = call(&hurried, "ClaimService/GetRewardRequest", &get)
            .bearer(&user)
            .send()
            .await;
        assert_eq!(reply.header("ratelimit-policy"), "\"user\";q=2;w=120");
        assert_error(reply, 404, "not_found", "no-such-reward-request");
    }
    let reply = call(&hurried, "ClaimService/GetRewardRequest", &get)
        .bearer(&user)
        .send()
        .await;
    let header: i64 = reply.header("retry-after").parse().expect("seconds");
    let error = assert_error(reply, 429, "resource_exhausted", "rate-limited");
    assert_eq!(
        error.retry.retry_delay.as_option().map(|delay| delay.seconds),
        Some(header)
    );

    let large = json!({"id": "x".repeat(1 << 20)});
    let reply = call(&app, "ClaimService/GetRewardRequest", &large)
        .bearer(&user)
        .send()
        .await;
    assert_error(reply, 429, "resource_exhausted", "body-too-large");
    let compressed = call(&app, "ClaimService/GetRewardRequest", &get).bearer(&user);
    let reply = compressed.header("content-encoding", "gzip").send().await;
    assert_error(reply, 400, "invalid_argument", "unsupported-encoding");
    for (kind, bytes) in [
        ("application/json", b"{".as_slice()),
        ("application/json", b"{\"id\": 5}"),
        ("application/proto", b"\xff\xff\xff"),
        ("application/proto", b"\x0a\x02\xff\xfe"),
    ] {
        let reply = app.post("/meed.v1.ClaimService/GetRewardRequest").bearer(&user);
        let reply = reply.bytes(kind, bytes).send().await;
        assert_error(reply, 400, "invalid_argument", "invalid-body");
    }
    let reply = app.post("/meed.v1.ClaimService/GetRewardRequest").bearer(&user);
    assert_eq!(reply.bytes("text/plain", "x").send().await.status, 415);
}

#[apply(on_both_engines)]
async fn refusals_are_recorded_and_reads_are_not(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let operator = app.operator().await;
    answer(&app, &operator, "EventService/GetEvent", json!({"id": event["id"]})).await;
    answer(&app, &operator, "EventService/ListEvents", json!({})).await;
    let reply = call(&app, "ClaimService/Claim", &json!({"eventId": event["id"]})).bearer(&operator);
    assert_error(reply.send().await, 403, "permission_denied", "forbidden");
    let user = app.token(Role::User).await;
    let reply = call(&app, "EventService/GetEvent", &json!({"id": event["id"]})).bearer(&user);
    assert_error(reply.send().await, 403, "permission_denied", "forbidden");
    let admin = app.token(Role::Admin).await;
    let log = app.get("/audit").bearer(&admin).send().await.expect(200);
    let actions = each(&log["items"], "action");
    // Entries of one instant have no order.
    let rpc: BTreeSet<_> = actions
        .into_iter()
        .filter(|action| action.contains("meed.v1"))
        .collect();
    let refused = [
        "POST /meed.v1.ClaimService/Claim",
        "POST /meed.v1.EventService/GetEvent",
    ];
    assert_eq!(rpc, BTreeSet::from(refused));
}

#[apply(on_both_engines)]
async fn health_is_the_readiness(app: TestApp) {
    let health = |service: &str| {
        let check = app
            .post("/grpc.health.v1.Health/Check")
            .json(&json!({"service": service}));
        check.send()
    };
    for service in ["", "meed.v1.ClaimService", "meed.v1.ActivityService"] {
        assert_eq!(
            health(service).await.expect(200),
            json!({"status": "SERVING"}),
            "{service}"
        );
    }
    assert_eq!(health("nothing").await.status, 404);
    app.app.health.drain();
    assert_eq!(health("").await.expect(200), json!({"status": "NOT_SERVING"}));
    // Calls that arrive meanwhile are answered.
    let keys = call(&app, "ReceiptService/GetReceiptKeys", &json!({})).send().await;
    assert_eq!(keys.status, 200);
}
