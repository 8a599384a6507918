//! Plans, and what is refused.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{SCOPES, Site, event, pair};
use crate::service_keys;
use crate::support::{TestApp, guest, on_both_engines, text};

#[apply(on_both_engines)]
async fn a_plan_shows_each_member_before_anything_changes(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    site.rules(&pair("\"7일 \\u202e연속\"", 10));
    // The API refuses characters that hide others, and so does the plan.
    site.diff().fails(&[
        "rules.yaml:7:5: event \"streak\": /title: contains the invisible",
        "U+202E",
    ]);
    site.rules(&pair("7일 연속", 10));
    let created = site.diff().code(2);
    assert_eq!(
        created,
        "\
+ reward \"coupon\"
    itemId  \"sku-1\"
    stock   10
    type    \"COUPON\"
+ event \"streak\"
    condition  {\"plugin\":\"always@1.2.3\"}
    endDate    \"2090-01-31T15:00:00.000Z\"
    rewards    [\"coupon\"]
    startDate  \"2089-12-31T15:00:00.000Z\"
    title      \"7일 연속\"
Note: a change of an event that the server protects becomes a release, which waits for its approval.

Plan: 2 to create.
"
    );
    assert!(
        site.named("/rewards", "coupon").await.is_null(),
        "a plan changes nothing"
    );
    let applied = site.apply(&[]).code(0);
    assert!(
        applied.starts_with(&created)
            && applied.ends_with("done: create reward \"coupon\"\ndone: create event \"streak\"\n"),
        "{applied}"
    );
    assert_eq!(site.diff().code(0), "No changes. The server is as the files want it.\n");
    assert_eq!(
        site.apply(&[]).code(0),
        "No changes. The server is as the files want it.\n"
    );

    let changed = pair("Seven days", 20).replace("1.2.3}", "1.2.3}\n    budget: {period: DAILY, grants: 5}");
    site.rules(&changed);
    let plan = "\
~ reward \"coupon\"
    stock  10 → 20
~ event \"streak\"
    budget  unset → {\"grants\":5,\"period\":\"DAILY\"}
    title   \"7일 연속\" → \"Seven days\"
Note: a change of an event that the server protects becomes a release, which waits for its approval.

Plan: 2 to change.
";
    assert_eq!(site.diff().code(2), plan);
    let machine = site.run(&["diff", "-f", "rules.yaml", "--json"]).code(2);
    let machine: serde_json::Value = serde_json::from_str(&machine).expect("JSON");
    assert_eq!(
        machine["changes"][0],
        json!({
            "action": "update", "kind": "rewards", "name": "coupon", "revision": 1,
            "fields": [{"path": "stock", "old": 10, "new": 20}],
        })
    );
    site.apply(&[]).code(0);
    assert!(site.diff().code(0).contains("No changes"));
    let coupon = site.named("/rewards", "coupon").await;
    assert_eq!(
        (&coupon["stock"], &coupon["stockRemaining"], &coupon["appliedRevision"]),
        (&json!(20), &json!(20), &json!(2))
    );

    // The audit log names the key.
    let auditor = app.auditor().await;
    let target = text(&coupon, "id");
    let entries = app
        .get(&format!("/audit?target={target}"))
        .bearer(&auditor)
        .send()
        .await
        .expect(200);
    let entry = &entries["items"][0];
    assert_eq!(
        (&entry["actorKind"], &entry["actorName"], &entry["action"]),
        (&json!("SERVICE_KEY"), &json!("ci"), &json!("PUT /rewards/{id}"))
    );
    assert_eq!(entry["changes"]["stock"], json!({"old": 10, "new": 20}));
}

#[apply(on_both_engines)]
async fn what_files_do_not_manage_needs_overwrite(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    let reward = app
        .reward(json!({"name": "coupon", "type": "COUPON", "itemId": "sku-1", "stock": 7}))
        .await;
    app.create_event(&event("Streak", &[&reward])).await.expect(201);
    site.rules("rewards:\n  coupon: {type: COUPON, itemId: sku-1, stock: 8}\n");
    let told = site.diff().fails(&[
        "REFUSED: files do not manage it; --overwrite takes it over",
        "stock  7 → 8",
    ]);
    assert!(told.contains("Last change: 2026-03-01T12:00:00.000Z, by "), "{told}");
    site.apply(&[]).fails(&["--overwrite", "nothing was changed"]);
    assert_eq!(site.named("/rewards", "coupon").await["stock"], 7);
    site.apply(&["--overwrite"]).code(0);
    assert_eq!(site.named("/rewards", "coupon").await["stock"], 8);
    // From now on files manage it.
    site.rules("rewards:\n  coupon: {type: COUPON, itemId: sku-1, stock: 9}\n");
    site.apply(&[]).code(0);

    // An equal object can be taken over before it changes.
    app.reward(json!({"name": "equal", "type": "POINT"})).await;
    site.rules("rewards:\n  equal: {type: POINT}\n");
    site.diff().code(0);
    let adopted = site.apply(&["--overwrite"]).code(0);
    assert!(
        adopted.contains("= reward \"equal\" is managed by files from now on"),
        "{adopted}"
    );
    assert!(site.apply(&["--overwrite"]).code(0).contains("No changes"));
    site.rules("rewards:\n  equal: {type: ITEM}\n");
    site.apply(&[]).code(0);
}

#[apply(on_both_engines)]
async fn what_a_person_changed_since_is_not_overwritten(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    site.rules(&pair("Streak", 10));
    site.apply(&[]).code(0);
    let (coupon, streak) = (
        site.named("/rewards", "coupon").await,
        site.named("/events", "streak").await,
    );
    let changed = site
        .change("/rewards", &coupon, json!({"type": "COUPON", "stock": 50}))
        .await;
    assert_eq!(
        (&changed["revision"], &changed["appliedRevision"]),
        (&json!(2), &json!(1))
    );
    site.change("/events", &streak, event("A person's title", &[&coupon]))
        .await;

    // The event equals no file, so the plan is refused even where the file did not change.
    let told = site.apply(&[]).fails(&[
        "REFUSED: it was changed after the last apply, from revision 1 to 2",
        "2 of them refused",
        "nothing was changed",
    ]);
    assert!(told.contains("Last change: 20") && told.contains(", by "), "{told}");
    let newest = app.read(&format!("/rewards/{}/revisions", text(&coupon, "id"))).await;
    assert!(told.contains(text(&newest["items"][0], "changedBy")), "{told}");

    // A file that says what the person said is no change.
    site.rules(
        &pair("A person's title", 50)
            .replace(", itemId: sku-1", "")
            .replace("+09:00", "Z"),
    );
    site.diff().code(0);
    // Neither is a claim or a reversal: the stock that is left is not in the file.
    site.rules(&pair("Streak", 60));
    site.diff().fails(&["2 of them refused"]);
    site.apply(&["--overwrite"]).code(0);
    assert_eq!(site.named("/rewards", "coupon").await["stock"], 60);
    site.rules(&pair("Streak", 61));
    site.apply(&[]).code(0);
}

#[apply(on_both_engines)]
async fn what_the_api_cannot_change_is_an_error_of_the_plan(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    let now = "startDate: 2025-01-01T00:00:00Z, endDate: 2095-01-01T00:00:00Z";
    let over = "startDate: 2025-01-01T00:00:00Z, endDate: 2025-02-01T00:00:00Z";
    let rules = |codes: &str, now: &str, over: &str, zone: &str| {
        let condition = "rewards: [limited], condition: {plugin: always@1.2.3}";
        format!(
            "
rewards:
  limited: {{type: POINT, stock: 5}}
  vouchers: {{type: VOUCHER{codes}}}
events:
  running: {{title: R, {now}, timeZone: {zone}, {condition}}}
  over: {{title: O, {over}, {condition}}}
"
        )
    };
    site.rules(&rules("", now, over, "UTC"));
    site.apply(&[]).fails(&["must be within ten years"]);
    let now = "startDate: 2025-01-01T00:00:00Z, endDate: 2034-01-01T00:00:00Z";
    site.rules(&rules("", now, over, "UTC"));
    site.apply(&[]).code(0);
    site.rules(&rules(", codes: true", now, over, "Asia/Seoul"));
    site.diff().fails(&[
        "rules.yaml:5:13: reward \"vouchers\": codes cannot change; make a reward with another name",
        "event \"running\": the event has started, so startDate, timeZone and recurrence.period cannot change",
    ]);
    site.rules(&rules("", now, &over.replace("2025-02", "2025-03"), "UTC"));
    site.diff()
        .fails(&["event \"over\": the event has ended, so endDate cannot change"]);
    site.rules(&rules(", codes: true, stock: 5", now, over, "UTC"));
    site.diff()
        .fails(&["/stock: is the number of imported codes; leave it out"]);
    site.rules(&rules("", now, over, "Asia/Nowhere"));
    site.apply(&[]).fails(&["/timeZone", "is not an IANA time zone name"]);

    // A stock below what was granted.
    let user = site.app.user(Role::User).await;
    let running = site.named("/events", "running").await;
    let claim = site.app.claim(&user.token, &running).send().await.expect(201);
    assert_eq!(claim["status"], "GRANTED", "{claim:#}");
    site.rules("rewards:\n  limited: {type: POINT, stock: 0}\n");
    site.diff()
        .fails(&["the stock cannot be 0, because 1 were granted already"]);
    site.rules("rewards:\n  limited: {type: POINT, stock: 5}\n");
    assert!(
        site.diff().code(0).contains("No changes"),
        "the stock in a file is the total"
    );
    site.rules("rewards:\n  limited: {type: POINT, stock: 6}\n");
    site.apply(&[]).code(0);
    assert_eq!(site.named("/rewards", "limited").await["stockRemaining"], 5);
}

#[apply(on_both_engines)]
async fn what_a_file_names_must_exist(app: TestApp) {
    let site = Site::new(&app).await;
    site.rules(
        &pair("Streak", 1)
            .replace("[coupon]", "[coupon, other]")
            .replace("title:", "group: none\n    title:"),
    );
    site.diff().fails(&[
        "there is no reward \"other\", neither in the files nor on the server",
        "there is no event group \"none\"",
        "there is no plugin \"always@1.2.3\"",
        "3 errors",
    ]);
    site.rules("plugins:\n  always@1.2.3: {}\n");
    site.diff()
        .fails(&["the server does not have this version; give its file"]);
    site.rules("plugins:\n  always: {file: always.wasm}\n");
    site.diff()
        .fails(&["rules.yaml:3:11: the plugin \"always\" needs its version in its name"]);
    site.rules("plugins:\n  always@1.2.3: {file: always.wasm}\n");
    site.diff().fails(&["read always.wasm"]);

    let module = guest("always").module();
    site.write("always.wasm", &module);
    assert!(
        site.diff()
            .code(2)
            .contains("+ plugin \"always@1.2.3\" (uploads the module)")
    );
    site.apply(&[]).code(0);
    assert!(site.diff().code(0).contains("No changes"));
    let digest = meed_host::sandbox::Digest::of(&module).to_string();
    site.rules(&format!("plugins:\n  always@1.2.3: {{digest: \"{digest}\"}}\n"));
    site.diff().code(0);
    // A version never changes.
    site.write("always.wasm", crate::support::padded(module.clone(), "x"));
    site.rules("plugins:\n  always@1.2.3: {file: always.wasm}\n");
    site.diff().fails(&[
        "the server has other bytes under this version",
        "raise the version of the plugin",
    ]);
    // The module says what it is.
    site.write("always.wasm", guest("another").module());
    site.rules("plugins:\n  always@2.0.0: {file: always.wasm}\n");
    for told in [site.diff(), site.apply(&[])] {
        told.fails(&["plugin \"always@2.0.0\": always.wasm: the module is another@1.2.3"]);
    }
    // A module that the sandbox refuses, too, is not sent.
    site.write("always.wasm", b"\0asm\x01\0\0\0");
    site.diff().fails(&["plugin \"always@2.0.0\": always.wasm: "]);
    let uploaded = site.app.count("SELECT COUNT(*) FROM plugin_versions").await;
    assert_eq!(uploaded, 1);
}

#[apply(on_both_engines)]
async fn a_plugin_is_a_module_below_the_folder_and_of_other_files_nothing_is_told(app: TestApp) {
    let site = Site::new(&app).await;
    let outside = tempfile::tempdir().expect("a folder");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "a secret").expect("a file");
    let module = guest("always").module();
    let elsewhere = outside.path().join("always.wasm");
    std::fs::write(&elsewhere, &module).expect("a file");
    std::fs::create_dir(site.path().join("modules")).expect("a folder");
    std::os::unix::fs::symlink(&elsewhere, site.path().join("link.wasm")).expect("a link");
    std::os::unix::fs::symlink(outside.path(), site.path().join("folder")).expect("a link");
    site.write("text.wasm", "a secret");
    site.write("signed.wasm", &module);
    std::os::unix::fs::symlink(&secret, site.path().join("signed.wasm.minisig")).expect("a link");
    let digests = [&b"a secret"[..], &module].map(|bytes| meed_host::sandbox::Digest::of(bytes).hex());
    for (file, says) in [
        (elsewhere.to_str().expect("text"), "below the current folder"),
        (secret.to_str().expect("text"), "below the current folder"),
        ("link.wasm", "below the current folder"),
        ("folder/always.wasm", "below the current folder"),
        ("signed.wasm", "signed.wasm.minisig is neither below"),
        ("modules", "is no file"),
        ("/dev/zero", "below the current folder"),
        ("text.wasm", "is no WebAssembly module"),
    ] {
        site.rules(&format!("plugins:\n  always@1.2.3: {{file: \"{file}\"}}\n"));
        let told = site.diff().fails(&[says]);
        assert!(digests.iter().all(|digest| !told.contains(digest)), "{told}");
    }
    // A folder beside that of the rules is fine.
    site.write("modules/always.wasm", &module);
    std::fs::create_dir(site.path().join("rules")).expect("a folder");
    site.write(
        "rules/a.yaml",
        "apiVersion: meed/v1\nplugins:\n  always@1.2.3: {file: ../modules/always.wasm}\n",
    );
    site.run(&["diff", "-f", "rules"]).code(2);
}

#[apply(on_both_engines)]
async fn a_key_does_only_what_its_scopes_permit(app: TestApp) {
    let site = Site::with_key(&app, &["rewards:read", "events:read", "plugins:read"]).await;
    site.install().await;
    site.rules(&pair("Streak", 1));
    // Enough for the check of a pull request.
    site.diff().code(2);
    site.apply(&[])
        .fails(&["forbidden", "rewards:write", "not done: create event \"streak\""]);
    site.rules("webhooks:\n  shop: {url: \"https://shop.example.com/\"}\n");
    site.diff().fails(&["read the webhooks", "webhooks:read"]);

    // No key makes keys, not even with --create-keys.
    let token = service_keys::secret(&site.app, "reader", &["service-keys:read"]).await;
    let site = Site::with_token(site.app.in_real_time(), token).await;
    site.rules("serviceKeys:\n  shop: {scopes: [activities:write]}\n");
    let noted = site.diff().code(0);
    assert!(
        noted.contains("the service key \"shop\" does not exist; --create-keys creates it"),
        "{noted}"
    );
    site.apply(&["--create-keys", "--secrets", "s.jsonl"])
        .fails(&["forbidden"]);
    // A wrong token says nothing else.
    let site = Site::with_token(site.app.in_real_time(), "meed_sk_wrong".to_owned()).await;
    site.rules(&pair("Streak", 1));
    site.diff().fails(&["invalid-token"]);
}

#[apply(on_both_engines)]
async fn operations_on_endpoints_and_keys_are_no_changes_of_rules(app: TestApp) {
    let site = Site::new(&app).await;
    let rules = |url: &str, scopes: &str| {
        format!(
            "webhooks:\n  shop: {{url: \"https://shop.example.com/{url}\"}}\nserviceKeys:\n  shop: {{scopes: [{scopes}]}}\n"
        )
    };
    site.rules(&rules("a", "events:read"));
    site.apply(&["--create-keys", "--secrets", "s.jsonl"]).code(0);
    let admin = &site.token;
    let shop = site.named("/webhook-endpoints", "shop").await;
    let path = format!("/webhook-endpoints/{}", text(&shop, "id"));
    let pause = site.app.patch(&path).bearer(admin).json(&json!({"state": "PAUSED"}));
    pause.send().await.expect(200);
    site.app
        .post(&format!("{path}/secret"))
        .bearer(admin)
        .send()
        .await
        .expect(200);
    let keys = site.app.get("/service-keys").bearer(admin).send().await.expect(200);
    let path = format!("/service-keys/{}/rotation", text(&keys["items"][0], "id"));
    site.app
        .post(&path)
        .bearer(admin)
        .json(&json!({}))
        .send()
        .await
        .expect(200);

    site.rules(&rules("b", "events:read, events:write"));
    let plan = site.diff().code(2);
    assert!(plan.contains("2 to change") && !plan.contains("REFUSED"), "{plan}");
    site.apply(&[]).code(0);
    let shop = site.named("/webhook-endpoints", "shop").await;
    assert_eq!(
        (&shop["url"], &shop["state"]),
        (&json!("https://shop.example.com/b"), &json!("PAUSED"))
    );
}

#[apply(on_both_engines)]
async fn mistakes_in_what_is_selected_and_in_dates_are_told(app: TestApp) {
    let site = Site::new(&app).await;
    site.install().await;
    site.rules(&pair("Streak", 1));
    site.apply(&[]).code(0);
    // A wrong path deletes nothing.
    std::fs::create_dir(site.path().join("empty")).expect("a folder");
    for command in [&["diff"][..], &["apply", "--yes"]] {
        let told = site.run(&[command, &["-f", "empty", "--prune"]].concat());
        told.fails(&["there is no file with rules"]);
    }
    let only = |name: &str| site.run(&["diff", "-f", "rules.yaml", "--only", name]);
    only("rewards/typo").fails(&["--only rewards/typo: no file has it"]);
    only("rewards/coupon").code(0);
    // What only the server has, is selected to be deleted.
    site.rules("rewards:\n  other: {type: COUPON}\n");
    only("events/streak").fails(&["--only events/streak: no file has it"]);
    let prune = ["diff", "-f", "rules.yaml", "--prune", "--only", "events/streak"];
    assert!(site.run(&prune).code(2).contains("- event \"streak\""));
    let backwards = pair("Streak", 1).replace("endDate: 2090-02", "endDate: 2089-02");
    site.rules(&backwards);
    site.diff()
        .fails(&["event \"streak\": /endDate: ", "is not after the startDate"]);
}
