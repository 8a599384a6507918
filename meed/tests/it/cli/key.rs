//! `meed key create`, `list` and `revoke`

use rstest_reuse::apply;
use serde_json::json;

use super::{meed, output, text as utf8};
use crate::support::{TestApp, on_both_engines};

/// Runs `meed key ARGUMENTS`, and returns its output or its error.
fn key(app: &TestApp, arguments: &[&str]) -> Result<String, String> {
    let mut command = meed(app.directory());
    command
        .arg("key")
        .args(arguments)
        .env("MEED__DATABASE__URL", app.database_url());
    let output = output(&mut command);
    if output.status.success() {
        Ok(utf8(&output.stdout))
    } else {
        Err(utf8(&output.stderr))
    }
}

#[apply(on_both_engines)]
async fn the_first_key_needs_no_server(app: TestApp) {
    let app = app.in_real_time();
    let create = [
        "create",
        "shop",
        "--scope",
        "rewards:read",
        "--scope",
        "events:read",
        "--source",
        "shop",
    ];
    let printed = key(&app, &create).expect("a key");
    let secret = printed.trim();
    app.get("/rewards").bearer(secret).send().await.expect(200);
    app.get("/plugins")
        .bearer(secret)
        .send()
        .await
        .expect_problem(403, "forbidden");
    let listed = key(&app, &["list"]).expect("a list");
    assert!(listed.starts_with("shop\trewards:read,events:read\tused 2"), "{listed}");
    assert!(!listed.contains(&secret[8..]), "{listed}");
    let entries = app
        .get("/audit?action=meed%20key%20create")
        .bearer(&app.auditor().await)
        .send()
        .await;
    assert_eq!(entries.expect(200)["items"][0]["actorKind"], json!("SYSTEM"));

    let taken = key(&app, &create).expect_err("the name is taken");
    assert!(taken.contains("Another service key has the name \"shop\""), "{taken}");
    let wrong = key(&app, &["create", "x", "--scope", "everything"]).expect_err("no such scope");
    assert!(
        wrong.contains("\"everything\" is not a scope; the scopes are activities:read"),
        "{wrong}"
    );

    key(&app, &["revoke", "shop"]).expect("it is revoked");
    assert_eq!(key(&app, &["list"]).expect("a list"), "");
    let unknown = key(&app, &["revoke", "shop"]).expect_err("no such key");
    assert!(
        unknown.contains("There is no service key with the name \"shop\""),
        "{unknown}"
    );
}
