//! `--prune`

use rstest_reuse::apply;
use serde_json::json;

use super::{SCOPES, Site, event, pair};
use crate::support::{TestApp, on_both_engines, text};

#[apply(on_both_engines)]
async fn only_what_apply_wrote_is_deleted_and_only_when_asked(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    let own = app.reward(json!({"name": "by-hand", "type": "POINT"})).await;
    let by_hand = app.create_event(&event("By hand", &[&own])).await.expect(201);
    site.rules(&(pair("Streak", 10) + "eventGroups:\n  welcome: {maxPerUser: 1}\n"));
    site.apply(&[]).code(0);
    site.rules("rewards:\n  other: {type: POINT}\n");
    assert!(site.apply(&[]).code(0).contains("Plan: 1 to create."));
    assert!(
        site.diff().code(0).contains("No changes"),
        "without --prune, nothing is deleted"
    );

    let plan = site.run(&["diff", "-f", "rules.yaml", "--prune"]).code(2);
    let deletions: Vec<&str> = plan.lines().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(
        deletions,
        [
            "- event \"streak\" (its claims, grants and receipts stay; it cannot be claimed any more)",
            "- event group \"welcome\"",
            "- reward \"coupon\" (grants of it stay)",
        ]
    );
    // The key may not read endpoints and keys, so it prunes none.
    assert!(
        plan.contains("Note: the webhooks are not pruned, because the token may not read them."),
        "{plan}"
    );
    assert!(plan.ends_with("Plan: 3 to delete.\n"), "{plan}");
    // Only a part.
    let part = site
        .run(&["diff", "-f", "rules.yaml", "--prune", "--only", "rewards"])
        .fails(&["the reward \"coupon\" is in no file any more, but an event that stays uses it"]);
    assert!(!part.contains("- event"), "{part}");

    site.apply(&["--prune"]).code(0);
    assert!(site.named("/events", "streak").await.is_null());
    assert!(site.named("/rewards", "coupon").await.is_null());
    assert_eq!(site.named("/rewards", "by-hand").await["id"], own["id"]);
    app.read(&format!("/events/{}", text(&by_hand, "id"))).await;
    assert!(site.apply(&["--prune"]).code(0).contains("No changes"));
    // Its name is free.
    site.rules(&pair("Again", 1));
    site.apply(&[]).code(0);
}

#[apply(on_both_engines)]
async fn what_a_person_changed_or_uses_is_not_pruned(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    site.rules(&pair("Streak", 10));
    site.apply(&[]).code(0);
    let coupon = site.named("/rewards", "coupon").await;
    let streak = site.named("/events", "streak").await;
    let used = app.create_event(&event("By hand", &[&coupon])).await.expect(201);
    site.rules("rewards: {}\n");
    site.apply(&["--prune"])
        .fails(&["the reward \"coupon\" is in no file any more, but an event that stays uses it"]);
    let operator = app.operator().await;
    let path = format!("/events/{}", text(&used, "id"));
    app.delete(&path).bearer(&operator).send().await.expect(204);

    site.change("/events", &streak, event("A person's title", &[&coupon]))
        .await;
    site.apply(&["--prune"])
        .fails(&["REFUSED: it was changed after the last apply, from revision 1 to 2"]);
    assert!(site.named("/events", "streak").await.is_object());
    site.apply(&["--prune", "--overwrite"]).code(0);
    assert!(site.named("/events", "streak").await.is_null());
    // A file with a mistake deletes nothing.
    site.rules(&pair("Streak", 10));
    site.apply(&[]).code(0);
    site.rules("rewards: {a: {}}\n");
    let told = site.apply(&["--prune"]).fails(&["missing field `type`"]);
    assert!(!told.contains("- event"), "{told}");
}

#[apply(on_both_engines)]
async fn an_admin_prunes_endpoints_and_keys(app: TestApp) {
    let site = Site::new(&app).await;
    site.rules(
        "webhooks:\n  shop: {url: \"https://shop.example.com/\"}\nserviceKeys:\n  shop: {scopes: [events:read]}\n",
    );
    site.apply(&["--create-keys", "--secrets", "s.jsonl"]).code(0);
    site.rules("rewards: {}\n");
    let plan = site.apply(&["--prune"]).code(0);
    assert!(
        plan.contains("- service key \"shop\" (it is revoked for ever)"),
        "{plan}"
    );
    assert!(site.named("/webhook-endpoints", "shop").await.is_null());
    let exported = site.run(&["export", "--only", "serviceKeys"]).code(0);
    assert!(!exported.contains("shop"), "{exported}");
}
