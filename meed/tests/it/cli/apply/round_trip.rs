//! What is exported is what is there, and applying it changes nothing.

use std::os::unix::fs::PermissionsExt as _;

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::Site;
use crate::service_keys;
use crate::support::{TestApp, bundled, guest, on_both_engines, reviewing, with};

/// Creates objects with every member that the API has, and with as few as possible.
async fn fill(site: &Site) {
    let app = &site.app;
    let admin = &site.token;
    let post = async |path: &str, body: Value| app.post(path).bearer(admin).json(&body).send().await.expect(201);
    site.install().await;
    let mut newer = guest("always");
    "1.3.0+build.7".clone_into(&mut newer.manifest.version);
    app.upload(newer.module()).await.expect(201);
    app.upload(reviewing("reviewing").module()).await.expect(201);
    app.upload(bundled("login-streak")).await.expect(201);
    for (name, most) in [("welcome", 1), ("a", 1000)] {
        let call = app.put(&format!("/event-groups/{name}")).bearer(admin);
        call.json(&json!({"maxPerUser": most})).send().await.expect(201);
    }

    let plain = post("/rewards", json!({"type": "POINT"})).await;
    let all = json!({
        "name": "all.members_1-2", "type": "COUPON", "itemId": "sku: {1} # no comment", "value": 9_007_199_254_740_991_i64,
        "duration": "P30D", "description": "Zeile 1\nZeile 2 – „ä“ 쿠폰 👩\u{200d}👧", "stock": 0,
    });
    let all = post("/rewards", all).await;
    let codes = json!({"name": "codes", "type": "VOUCHER", "codes": true, "codesLowWater": 5, "codesReturn": true});
    let codes = post("/rewards", codes).await;
    let path = format!("/rewards/{}/codes", codes["id"].as_str().expect("an id"));
    let call = app.post(&path).bearer(admin).bytes("text/plain", "A-1\nA-2\n");
    call.send().await.expect(200);

    let small = json!({
        "title": "no", "startDate": "2026-01-01T00:00:00Z", "endDate": "2026-02-01T00:00:00Z",
        "rewardIds": [plain["id"]], "condition": {"plugin": "always", "version": "1.2.3"},
    });
    post("/events", small.clone()).await;
    for (number, text) in [
        "null",
        "~",
        "0x10",
        "1_000",
        "- a",
        "true",
        "'quoted'",
        "ends with: ",
        "007",
        "1e3",
        "2026-01-01",
    ]
    .iter()
    .enumerate()
    {
        let changes = json!({"name": format!("texts-{number}"), "title": text, "description": text, "tags": [text]});
        post("/events", with(small.clone(), changes)).await;
    }
    for (number, period) in ["ONCE", "DAILY", "WEEKLY", "MONTHLY"].iter().enumerate() {
        let large = json!({
            "name": format!("{number}"), "title": "7일 연속: “로그인”", "description": "a\n\nb\n", "isActive": number % 2 == 0,
            "startDate": "2090-01-01T00:00:00.123+09:00", "endDate": "2091-01-01T00:00:00+09:00",
            "tags": ["spring", "no", "1"], "rewardIds": [codes["id"], plain["id"], all["id"]], "timeZone": "asia/seoul",
            "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 7.0}},
            "recurrence": {"period": period, "count": 3}, "group": "welcome", "maxQuantity": 5, "respondAsync": true,
            "budget": {"period": period, "grants": 10, "amount": if number == 0 { Value::Null } else { json!(500) }},
        });
        post("/events", large).await;
    }
    let review = with(
        small,
        json!({"name": "review", "condition": {"plugin": "reviewing", "version": "1.2.3"}}),
    );
    post("/events", review).await;

    post("/webhook-endpoints", json!({"url": "https://shop.example.com/meed"})).await;
    let shop = json!({
        "name": "shop", "url": "https://shop.example.com/meed?a=b", "description": "The shop", "acknowledges": false,
        "types": ["reward.granted", "reward.reversed"],
    });
    post("/webhook-endpoints", shop).await;
    let changes = json!({
        "sources": ["shop"], "addresses": ["203.0.113.0/24", "2001:db8::/32"], "expiresAt": "2090-01-01T00:00:00Z",
        "rateLimit": {"burst": 5, "perMinute": 60},
    });
    service_keys::create(app, "상점 / back end: 1", &["events:read", "activities:write"], changes).await;
    service_keys::create(app, "plain", &["events:read"], json!({})).await;
}

#[apply(on_both_engines)]
async fn an_export_differs_from_nothing_and_applying_it_changes_nothing(app: TestApp) {
    let site = Site::new(&app).await;
    fill(&site).await;
    let exported = site.run(&["export"]).code(0);
    for secret in ["meed_sk_", "whsec_", "A-1", "seedSecret"] {
        assert!(!exported.contains(secret), "{exported}");
    }
    assert_eq!(site.run(&["export"]).code(0), exported, "always the same");
    site.write("rules.yaml", &exported);
    assert!(site.diff().code(0).contains("No changes"));
    site.run(&["export", "-o", "folder"]).code(0);
    assert!(site.run(&["diff", "-f", "folder"]).code(0).contains("No changes"));
    let before = app
        .count("SELECT COUNT(*) FROM audit_log WHERE action LIKE 'PUT %'")
        .await;
    assert!(site.apply(&[]).code(0).contains("No changes"));
    let after = app
        .count("SELECT COUNT(*) FROM audit_log WHERE action LIKE 'PUT %'")
        .await;
    assert_eq!(before, after, "nothing was written");

    // The schema accepts it.
    let schema: Value = serde_json::from_str(&site.run(&["schema"]).code(0)).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a JSON Schema");
    let document: Value = serde_saphyr::from_str(&exported).expect("YAML");
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");

    // Parts of it.
    let rewards = site.run(&["export", "--only", "rewards/codes,eventGroups"]).code(0);
    assert!(rewards.contains("codes:") && rewards.contains("welcome:"), "{rewards}");
    assert!(
        !rewards.contains("all.members") && !rewards.contains("events:"),
        "{rewards}"
    );
    site.write("rules.yaml", rewards);
    assert!(site.diff().code(0).contains("No changes"));
    site.run(&["export", "--only", "event"])
        .fails(&["\"event\" is none of plugins, rewards"]);
}

/// The same rules on an empty server.
#[apply(on_both_engines)]
async fn an_export_makes_another_server_the_same(app: TestApp) {
    let site = Site::new(&app).await;
    fill(&site).await;
    site.run(&["export", "-o", "rules", "--with-modules"]).code(0);
    let exported = site.run(&["export"]).code(0);

    let other = match app.app.db.engine() {
        meed_host::db::Engine::Sqlite => TestApp::on_sqlite().await,
        meed_host::db::Engine::Postgres => TestApp::on_postgres().await,
    };
    let other = Site::new(&other).await;
    let rules = site.path().join("rules").display().to_string();
    let apply = ["apply", "-f", &rules, "--yes", "--create-keys"];
    other.run(&apply).fails(&["--create-keys needs --secrets"]);
    // Without a terminal, it does not ask.
    other.run(&["apply", "-f", &rules]).fails(&["use --yes"]);
    let apply = [&apply[..], &["--secrets", "secrets.jsonl"]].concat();
    let made = other.run(&apply).code(0);
    assert!(made.contains("done: create event \"review\""), "{made}");
    assert!(other.run(&["diff", "-f", &rules]).code(0).contains("No changes"));
    assert_eq!(other.run(&["export"]).code(0), exported);

    // The secrets are in a private file, and work.
    let path = other.path().join("secrets.jsonl");
    assert_eq!(
        std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
        0o600
    );
    let secrets = std::fs::read_to_string(path).expect("secrets");
    let secrets: Vec<Value> = secrets
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(secrets.len(), 4, "{secrets:?}");
    let of = |name: &str| secrets.iter().find(|secret| secret["name"] == name).expect(name);
    let plain = of("plain")["secret"].as_str().expect("a secret");
    other.app.get("/events").bearer(plain).send().await.expect(200);
    assert!(of("shop")["secret"].as_str().expect("a secret").starts_with("whsec_"));
    for secret in &secrets {
        assert!(!made.contains(secret["secret"].as_str().expect("a secret")), "{made}");
    }
    // A second run has nothing to do, and would not overwrite the secrets.
    assert!(other.run(&apply).code(0).contains("No changes"));
}

/// A new member of the API must get a place in the files.
#[apply(on_both_engines)]
async fn files_have_every_member_of_the_api(app: TestApp) {
    let document = app.get("/openapi.json").send().await.expect(200);
    let site = Site::new(&app).await;
    let schema: Value = serde_json::from_str(&site.run(&["schema"]).code(0)).expect("JSON");
    let members = |schema: &Value| -> Vec<String> {
        let members = schema["properties"].as_object().expect("members");
        members.keys().cloned().collect()
    };
    for (api, file, elsewhere) in [
        ("NewReward", "RewardRule", &["name", "applied"][..]),
        // `acceptSlowReads` is not stored; apply waits for the facts instead.
        (
            "NewEvent",
            "EventRule",
            &["name", "applied", "rewardIds", "acceptSlowReads"],
        ),
        ("NewEventGroup", "EventGroupRule", &["applied"]),
        ("NewEndpoint", "WebhookRule", &["name", "applied"]),
        ("NewServiceKey", "ServiceKeyRule", &["name", "applied"]),
    ] {
        let in_files = members(&schema["$defs"][file]);
        for member in members(&document["components"]["schemas"][api]) {
            let is_there = in_files.contains(&member) || elsewhere.contains(&member.as_str());
            assert!(is_there, "{api} has {member}, and {file} has not");
        }
    }
}
