//! `POST /plugins/{name}/versions/{version}/simulate`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::{Condition, ENDLESS, IMPORT_NOTE};
use crate::support::{Reply, TestApp, assert_fault, bundled, guest, on_both_engines, with};

async fn simulate(app: &TestApp, module: Vec<u8>, body: Value) -> Reply {
    let plugin = app.install(module).await;
    let token = app.operator().await;
    let path = format!("/plugins/{}/versions/{}/simulate", plugin.name, plugin.version);
    app.post(&path).bearer(&token).json(&body).send().await
}

async fn streak(app: &TestApp, body: Value) -> Reply {
    simulate(app, bundled("login-streak"), body).await
}

#[apply(on_both_engines)]
async fn facts_of_a_user_are_as_of_the_given_time(app: TestApp) {
    let user = app.user(Role::User).await;
    for day in ["2026-03-02", "2026-03-03"] {
        app.at(&format!("{day}T12:00:00Z"));
        app.log_in(&user).await;
    }
    let body = json!({"params": {"days": 3}, "userId": user.id});
    let now = streak(&app, body.clone()).await.expect(200);
    assert_eq!(now["decision"]["outcome"], "eligible", "{now:#}");
    assert_eq!(
        now["facts"],
        json!([{"days": {"current": 3, "longest": 3, "lastDay": "2026-03-03"}}])
    );
    assert_eq!(now["queries"][0]["streak"]["kind"], "auth.login");
    assert_eq!(
        now["context"]["user"],
        json!({"id": user.id, "registered": "2026-03-01T12:00:00.000Z"})
    );
    assert!(
        now["fuel"].as_u64() > Some(0) && now["memoryBytes"].as_u64() > Some(0),
        "{now:#}"
    );
    assert_eq!(now.get("failure"), None);

    let mut past = body;
    past["asOf"] = json!("2026-03-02T13:00:00Z");
    past["timeZone"] = json!("Asia/Seoul");
    let then = streak(&app, past).await.expect(200);
    assert_eq!(then["decision"]["outcome"], "notEligible");
    assert_eq!(
        then["decision"]["progress"],
        json!([{"key": "days", "current": 2, "target": 3}])
    );
    assert_eq!(then["decision"]["reasons"][0]["code"], "streak-too-short");
    assert_eq!(then["context"]["now"], "2026-03-02T13:00:00.000Z");
    assert_eq!(then["context"]["local"]["hour"], 22);
    // Nothing was stored.
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);
}

#[apply(on_both_engines)]
async fn facts_can_be_given_explicitly(app: TestApp) {
    let facts = json!([{"days": {"current": 5, "longest": 9, "lastDay": "2026-03-01"}}]);
    let body = json!({"params": {"days": 7}, "facts": facts});
    let simulation = streak(&app, body).await.expect(200);
    assert_eq!(simulation["facts"], facts);
    assert_eq!(
        simulation["decision"]["progress"],
        json!([{"key": "days", "current": 5, "target": 7}])
    );
    assert_eq!(simulation["decision"]["outcome"], "notEligible");
}

#[apply(on_both_engines)]
async fn a_draw_is_simulated_with_a_seed_and_rewards(app: TestApp) {
    let rewards = json!([
        {"id": "gold", "kind": "ITEM", "value": null, "maxQuantity": 1},
        {"id": "bronze", "kind": "POINT", "value": 5, "maxQuantity": 1},
    ]);
    let body = json!({"params": {"weights": {"gold": 1, "bronze": 1}}, "facts": [], "rewards": rewards});
    // Ordered by id, bronze is the first of the two: an even seed draws it, an odd one draws gold.
    for (seed, drawn) in [("00", "bronze"), ("01", "gold")] {
        let mut body = body.clone();
        body["seed"] = json!(format!("{}{seed}", "00".repeat(31)));
        let simulation = simulate(&app, bundled("lucky-draw"), body).await.expect(200);
        assert_eq!(
            simulation["decision"]["awards"]["chosen"],
            json!([{"rewardId": drawn, "quantity": 1}])
        );
    }
}

#[apply(on_both_engines)]
async fn a_request_that_cannot_be_simulated_names_the_field(app: TestApp) {
    let days = json!({"days": {"current": 0, "longest": 0, "lastDay": null}});
    let unknown = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    let good = json!({"params": {"days": 7}, "facts": [days]});
    streak(&app, good.clone()).await.expect(200);
    let cases = [
        ("/facts", json!({"facts": []})),
        ("/facts", json!({"facts": [days, days]})),
        ("/facts", json!({"facts": vec![days.clone(); 33]})),
        ("/facts/0/days", json!({"facts": [{"days": 7}]})),
        ("/userId", json!({"facts": null, "userId": unknown})),
        ("/userId", json!({"facts": null, "userId": "me"})),
        ("", json!({"facts": null})),
        ("", json!({"userId": unknown})),
        ("/params/days", json!({"params": {"days": 0}})),
        ("/params", json!({"params": {}})),
        ("/params", json!({"params": 7})),
        (
            "/params",
            json!({"params": {"days": 7, "padding": "x".repeat(16 << 10)}}),
        ),
        ("/timeZone", json!({"timeZone": "Mars/Olympus"})),
        ("/asOf", json!({"asOf": "yesterday"})),
        ("/seed", json!({"seed": "00"})),
        ("/colour", json!({"colour": "red"})),
    ];
    for (pointer, changes) in cases {
        assert_fault(streak(&app, with(good.clone(), changes)).await, pointer);
    }
}

#[apply(on_both_engines)]
async fn params_have_at_most_16_kib_as_canonical_json(app: TestApp) {
    let plugin = app.install(guest("greedy").module()).await;
    let path = format!("/plugins/{}/versions/{}/simulate", plugin.name, plugin.version);
    let operator = app.operator().await;
    // {"a":"…"} has eight bytes in addition to the text.
    for (length, fits) in [((16 << 10) - 8, true), ((16 << 10) - 7, false)] {
        let body = json!({"params": {"a": "x".repeat(length)}, "facts": []});
        let reply = app.post(&path).bearer(&operator).json(&body).send().await;
        if fits {
            reply.expect(200);
        } else {
            assert_fault(reply, "/params");
        }
    }
}

#[apply(on_both_engines)]
async fn a_failed_plugin_is_reported_in_the_simulation(app: TestApp) {
    let cases = [
        (
            "out-of-fuel",
            Condition {
                evaluate: ENDLESS,
                ..guest("endless")
            },
        ),
        (
            "trap",
            Condition {
                evaluate: "(unreachable)",
                ..guest("trapping")
            },
        ),
        (
            "refused",
            Condition {
                decision: Err("no idea".to_owned()),
                ..guest("refusing")
            },
        ),
    ];
    for (code, guest) in cases {
        let body = json!({"params": {}, "facts": []});
        let simulation = simulate(&app, guest.module(), body).await.expect(200);
        assert_eq!(simulation["failure"]["code"], code);
        assert_eq!(simulation.get("decision"), None);
    }
}

#[apply(on_both_engines)]
async fn notes_are_shown_to_the_author(app: TestApp) {
    let noting = Condition {
        imports: IMPORT_NOTE,
        evaluate: "(i32.store (i32.const 0) (i32.const 0x6f6c6c65)) (i32.store8 (i32.const 4) (i32.const 0x21)) \
            (call $note (i32.const 0) (i32.const 5))",
        ..guest("noting")
    };
    let simulation = simulate(&app, noting.module(), json!({"params": {}, "facts": []}))
        .await
        .expect(200);
    assert_eq!(simulation["notes"], json!(["ello!"]));
}

#[apply(on_both_engines)]
async fn a_plugin_that_fails_in_bind_cannot_be_simulated(app: TestApp) {
    let unbound = Condition {
        bind: ENDLESS,
        ..guest("unbound")
    };
    let reply = simulate(&app, unbound.module(), json!({"params": {}, "facts": []})).await;
    assert_eq!(reply.expect_problem(422, "plugin-failed")["failure"], "out-of-fuel");
}

#[apply(on_both_engines)]
async fn a_disabled_plugin_is_not_simulated(app: TestApp) {
    app.install(guest("resting").module()).await;
    app.set_plugin("resting", "1.2.3", "DISABLED").await;
    let reply = simulate(&app, guest("resting").module(), json!({"params": {}, "facts": []})).await;
    reply.expect_problem(409, "plugin-disabled");
}

/// Refuses to decide when its memory, which has its input, contains the nil id or the beginning of "Simulation".
const SUSPICIOUS: &str = r"(local $at i32)
    (local.set $at (i32.const {heap}))
    (loop $next
      (if (i32.or
            (i64.eq (i64.load align=1 (local.get $at)) (i64.const 0x3030303030303030))
            (i64.eq (i64.load align=1 (local.get $at)) (i64.const 0x6974616c756d6953)))
        (then (unreachable)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (global.get $free))))";

#[apply(on_both_engines)]
async fn a_plugin_cannot_tell_a_simulation_from_a_claim(app: TestApp) {
    let sly = Condition {
        evaluate: SUSPICIOUS,
        ..guest("sly")
    };
    let plugin = app.install(sly.module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let claim = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(claim["status"], "GRANTED");
    let path = format!("/plugins/sly/versions/{}/simulate", plugin.version);
    let (operator, claimed) = (app.operator().await, &claim["id"]);
    let receipt = app
        .read(&format!(
            "/reward-requests/{}/receipt",
            claimed.as_str().expect("an id")
        ))
        .await;
    let facts = &receipt["receipt"]["evaluation"]["facts"];
    let mut seen = std::collections::BTreeSet::new();
    for input in [json!({"userId": user.id}), json!({"facts": facts})] {
        for _ in 0..2 {
            let body = with(input.clone(), json!({"params": {}}));
            let call = app.post(&path).bearer(&operator).json(&body);
            let simulation = call.send().await.expect(200);
            assert_eq!(simulation["decision"]["outcome"], "eligible", "{simulation:#}");
            let context = &simulation["context"];
            for id in [&context["event"]["id"], &context["user"]["id"]] {
                let id: uuid::Uuid = id.as_str().expect("text").parse().expect("an id");
                assert_eq!(id.get_version_num(), 7);
            }
            let instants = ["starts", "ends"].map(|name| context["event"][name].as_str().expect("an instant"));
            assert!(
                instants.iter().all(|instant| instant.ends_with(":00:00.000Z")),
                "{instants:?}"
            );
            assert_ne!(context["user"]["registered"], context["event"]["starts"]);
            // Nothing that a plugin could know beforehand.
            for value in [&context["event"]["id"], &context["seed"]] {
                assert!(seen.insert(value.to_string()), "{value} twice");
            }
        }
    }
    // What is given is what the plugin sees.
    let given = json!({
        "params": {}, "facts": facts, "eventId": event["id"], "title": event["title"],
        "startDate": event["startDate"], "endDate": event["endDate"],
    });
    let simulation = app.post(&path).bearer(&operator).json(&given).send().await.expect(200);
    assert_eq!(
        simulation["context"]["event"],
        json!({
            "id": event["id"], "title": event["title"], "starts": event["startDate"], "ends": event["endDate"],
        })
    );
}
