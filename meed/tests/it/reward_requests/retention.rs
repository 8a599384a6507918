//! How long refused requests are kept

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use crate::support::{TestApp, on_both_engines, text};

#[apply(on_both_engines)]
async fn refusals_are_deleted_after_their_retention_and_grants_never(app: TestApp) {
    let (streak, open) = (
        app.event("login-streak", json!({"days": 2}), json!({})).await,
        app.event("first-come", json!({}), json!({})).await,
    );
    let user = app.user(Role::User).await;
    let rejected = app.claim(&user.token, &streak).send().await.expect(201);
    let granted = app.claim(&user.token, &open).send().await.expect(201);
    assert_eq!(
        (&rejected["status"], &granted["status"]),
        (&json!("REJECTED"), &json!("GRANTED"))
    );
    app.at("2026-05-30T12:00:00Z");
    assert_eq!(app.app.claims.prune().await.expect("a step"), 0);
    app.at("2026-05-30T12:00:00.001Z");
    let keeping = app.replica(&[("claims.refusal_retention_seconds", "0")]);
    assert_eq!(keeping.app.claims.prune().await.expect("a step"), 0);
    assert_eq!(app.app.claims.prune().await.expect("a step"), 1);
    let operator = app.token(Role::Operator).await;
    for (request, status) in [(&rejected, 404), (&granted, 200)] {
        let path = format!("/reward-requests/{}", text(request, "id"));
        let reply = app.get(&path).bearer(&operator).send().await;
        assert_eq!(reply.status.as_u16(), status);
    }
}

#[apply(on_both_engines)]
async fn a_refusal_stays_as_long_as_its_key(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 2}), json!({})).await;
    let user = app.user(Role::User).await;
    let short = app.replica(&[("claims.refusal_retention_seconds", "1")]);
    let claim = || short.claim(&user.token, &event).header("idempotency-key", "k").send();
    let rejected = claim().await.expect(201);
    app.at("2026-03-04T12:00:00Z");
    assert_eq!(short.app.claims.prune().await.expect("a step"), 0);
    app.at("2026-03-04T12:00:01Z");
    // The response under the key has expired, but it refers to the request until it is deleted.
    assert_eq!(short.app.claims.prune().await.expect("a step"), 0);
    assert_eq!(short.app.claims.sweep().await.expect("a sweep"), 1);
    assert_eq!(short.app.claims.prune().await.expect("a step"), 1);
    assert_eq!(rejected["status"], "REJECTED");
}
