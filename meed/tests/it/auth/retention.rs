//! How long expired sessions are kept

use meed_host::auth::Role;
use rstest_reuse::apply;

use crate::support::{TestApp, on_both_engines};

const ROWS: &str = "SELECT (SELECT COUNT(*) FROM sessions) * 100 + (SELECT COUNT(*) FROM refresh_tokens)";

#[apply(on_both_engines)]
async fn expired_sessions_and_their_tokens_are_deleted_after_their_retention(app: TestApp) {
    let old = app.user(Role::User).await;
    assert_eq!(app.count(ROWS).await, 101);
    // A session lasts 90 days, and is kept for 30 more.
    app.at("2026-06-29T12:00:00Z");
    app.login(&old.email, old.password).await;
    app.app.auth.prune().await.expect("a step");
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 2);
    app.at("2026-06-29T12:00:00.001Z");
    let keeping = app.replica(&[("auth.session_retention_seconds", "0")]);
    assert_eq!(keeping.app.auth.prune().await.expect("a step"), 0);
    app.app.auth.prune().await.expect("a step");
    assert_eq!(app.count(ROWS).await, 101);
}
