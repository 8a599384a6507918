//! What a candidate may be, and what keeps it.

use meed_host::auth::Role;
use meed_host::contract::Query;
use meed_host::events::{EventError, Mode};
use meed_host::plugins::PluginVersion;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Tried, assert_replays, claim, receipt, streak};
use crate::support::{TestApp, guest, on_both_engines, text};

async fn asking(app: &TestApp, name: &str, attributes: std::ops::Range<u32>) -> (PluginVersion, Vec<u8>) {
    let mut guest = guest(name);
    if let Ok(binding) = &mut guest.binding {
        binding.queries = attributes
            .map(|number| Query::Attribute(format!("a{number}")))
            .collect();
    }
    let module = guest.module();
    (app.install(module.clone()).await, module)
}

fn tried(app: &TestApp, plugin: &PluginVersion) -> Tried {
    Tried {
        plugin: (plugin.name.clone(), plugin.version.clone()),
        ..Tried::new(app, &plugin.name, json!({}))
    }
}

#[apply(on_both_engines)]
async fn both_conditions_together_ask_at_most_as_much_as_one_may(app: TestApp) {
    let (stable, _) = asking(&app, "stable", 0..20).await;
    let (fits, module) = asking(&app, "fits", 10..32).await;
    let (large, _) = asking(&app, "large", 10..33).await;
    let event = app.event_on(&stable, json!({}), json!({})).await;
    let refused = tried(&app, &large).set(&app, &event, Mode::Shadow).await;
    match refused {
        Err(EventError::TooManyQueries(numbers)) => {
            assert_eq!((numbers.stable, numbers.candidate, numbers.together), (20, 23, 33));
        }
        other => panic!("{other:?}"),
    }
    tried(&app, &fits).canary(&app, &event, 1000).await;
    let user = app.user(Role::User).await;
    let request = claim(&app, &user, &event).await;
    assert_eq!(
        (text(&request, "status"), &request["pluginDigest"]),
        ("GRANTED", &json!(fits.digest))
    );
    // The receipt has the facts of the candidate's queries only.
    let signed = receipt(&app, &request).await;
    assert_eq!(
        signed["receipt"]["evaluation"]["facts"].as_array().map(Vec::len),
        Some(22)
    );
    assert_replays(&app, &signed, module).await;
}

#[apply(on_both_engines)]
async fn an_event_tries_one_release_at_a_time_and_each_change_is_a_revision(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let (one, other) = (streak(&app, 1), streak(&app, 2));
    let mut revisions = Vec::new();
    for mode in [
        Mode::Shadow,
        Mode::Canary { permille: 10 },
        Mode::Canary { permille: 10 },
    ] {
        revisions.push(one.set(&app, &event, mode).await.expect("a candidate"));
    }
    assert_eq!(revisions, [2, 3, 3], "a repeat changes nothing");
    match other.set(&app, &event, Mode::Shadow).await {
        Err(EventError::HasCandidate { release }) => assert_eq!(release, one.release_id),
        refused => panic!("{refused:?}"),
    }
    // Clearing what another release has changes nothing.
    other.clear(&app, &event).await;
    one.clear(&app, &event).await;
    one.clear(&app, &event).await;
    let path = format!("/events/{}", text(&event, "id"));
    let shown = app.read(&path).await;
    assert_eq!((&shown["revision"], &shown["candidate"]), (&json!(4), &Value::Null));
    let revisions = app.read(&format!("{path}/revisions")).await;
    let candidate = &revisions["items"][1]["event"]["candidate"];
    assert_eq!(
        (text(candidate, "mode"), &candidate["permille"]),
        ("CANARY", &json!(10))
    );
    assert_eq!(revisions["items"][0]["event"]["candidate"], Value::Null);
}

#[apply(on_both_engines)]
async fn the_plugin_of_a_candidate_is_kept_for_its_receipts(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let (plugin, _) = asking(&app, "asking", 0..1).await;
    let tried = tried(&app, &plugin);
    tried.canary(&app, &event, 1000).await;
    let path = format!("/plugins/{}/versions/{}", plugin.name, plugin.version);
    let usage = app.read(&format!("{path}/usage")).await;
    assert_eq!(usage["events"]["count"], 1, "{usage:#}");
    tried.clear(&app, &event).await;
    let deleted = app.delete(&path).bearer(&app.operator().await).send().await;
    deleted.expect_problem(409, "plugin-in-use");
}
