//! Names of events, rewards and webhook endpoints, which files and scripts use.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, each, guest, on_both_engines, text, with};

/// A kind of object: its path, a body without a name, and what changes in a replacement.
struct Kind {
    path: &'static str,
    body: Value,
    change: Value,
    /// Of the problem about a name that another object has.
    code: &'static str,
}

async fn kinds(app: &TestApp) -> Vec<Kind> {
    let plugin = app.upload(guest("first").module()).await.expect(201);
    let reward = app.reward(json!({"type": "POINT"})).await;
    let event = json!({
        "title": "이벤트", "startDate": "2026-02-01T00:00:00Z", "endDate": "2026-06-01T00:00:00Z",
        "rewardIds": [reward["id"]], "condition": {"plugin": plugin["name"], "version": plugin["version"]},
    });
    vec![
        Kind {
            path: "/events",
            body: event,
            change: json!({"title": "Another title"}),
            code: "event-name-taken",
        },
        Kind {
            path: "/rewards",
            body: json!({"type": "COUPON"}),
            change: json!({"type": "POINT"}),
            code: "reward-name-taken",
        },
        Kind {
            path: "/webhook-endpoints",
            body: json!({"url": "https://shop.example.com/meed"}),
            change: json!({"description": "The shop"}),
            code: "webhook-endpoint-name-taken",
        },
    ]
}

impl Kind {
    async fn create(&self, app: &TestApp, changes: Value) -> Reply {
        let token = app.operator().await;
        let body = with(self.body.clone(), changes);
        app.post(self.path).bearer(&token).json(&body).send().await
    }

    async fn replace(&self, app: &TestApp, object: &Value, changes: Value) -> Reply {
        let token = app.operator().await;
        let body = with(self.body.clone(), changes);
        let call = app.put(&self.of(object)).bearer(&token).header("if-match", "*");
        call.json(&body).send().await
    }

    fn of(&self, object: &Value) -> String {
        format!("{}/{}", self.path, text(object, "id"))
    }

    /// The ids of the objects with this name.
    async fn named(&self, app: &TestApp, name: &str) -> Value {
        let page = app.read(&format!("{}?name={name}", self.path)).await;
        json!(each(&page["items"], "id"))
    }
}

#[apply(on_both_engines)]
async fn an_object_without_a_name_has_its_id_as_name(app: TestApp) {
    for kind in kinds(&app).await {
        let object = kind.create(&app, json!({})).await.expect(201);
        assert_eq!(object["name"], object["id"], "{}", kind.path);
        assert_eq!(app.read(&kind.of(&object)).await["name"], object["id"]);
        assert_eq!(kind.named(&app, text(&object, "id")).await, json!([object["id"]]));
    }
}

#[apply(on_both_engines)]
async fn a_name_is_kept_until_it_is_changed_and_free_after_the_deletion(app: TestApp) {
    for kind in kinds(&app).await {
        let token = app.operator().await;
        let first = kind.create(&app, json!({"name": "first.1_a-b"})).await.expect(201);
        let second = kind.create(&app, json!({"name": "second"})).await.expect(201);
        assert_eq!(first["name"], "first.1_a-b");
        let kept = kind.replace(&app, &first, kind.change.clone()).await.expect(200);
        assert_eq!(kept["name"], "first.1_a-b", "{}", kind.path);
        let renamed = kind.replace(&app, &first, json!({"name": "third"})).await.expect(200);
        assert_eq!((&renamed["name"], &renamed["revision"]), (&json!("third"), &json!(3)));
        // The same name is no conflict with itself.
        kind.replace(&app, &first, json!({"name": "third"})).await.expect(200);

        // The old name is free; one in use is refused, and nothing changes.
        kind.create(&app, json!({"name": "first.1_a-b"})).await.expect(201);
        kind.create(&app, json!({"name": "second"}))
            .await
            .expect_problem(409, kind.code);
        kind.replace(&app, &first, with(kind.change.clone(), json!({"name": "second"})))
            .await
            .expect_problem(409, kind.code);
        assert_eq!(app.read(&kind.of(&first)).await["revision"], 4, "{}", kind.path);

        app.delete(&kind.of(&second)).bearer(&token).send().await.expect(204);
        assert_eq!(kind.named(&app, "second").await, json!([]));
        let again = kind.create(&app, json!({"name": "second"})).await.expect(201);
        assert_eq!(kind.named(&app, "second").await, json!([again["id"]]));
    }
}

#[apply(on_both_engines)]
async fn a_name_has_few_characters(app: TestApp) {
    for kind in kinds(&app).await {
        for bad in ["", "Upper", "-x", ".x", "a b", "a/b", "é", "a\u{200b}", &"x".repeat(65)] {
            assert_fault(kind.create(&app, json!({"name": bad})).await, "/name");
        }
        kind.create(&app, json!({"name": "x".repeat(64)})).await.expect(201);
    }
}

#[apply(on_both_engines)]
async fn of_concurrent_uses_of_a_name_one_succeeds(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    for kind in kinds(&app).await {
        let (one, two) = (
            kind.create(&app, json!({})).await.expect(201),
            kind.create(&app, json!({})).await.expect(201),
        );
        let (a, b, c) = tokio::join!(
            kind.replace(&app, &one, json!({"name": "contested"})),
            kind.replace(&app, &two, json!({"name": "contested"})),
            kind.create(&app, json!({"name": "contested"})),
        );
        one_of([a, b, c], kind.code);
        assert_eq!(kind.named(&app, "contested").await.as_array().map(Vec::len), Some(1));
    }
    // Service keys as well.
    for round in 0..8 {
        let create = |name: String| {
            let body = json!({"name": name, "scopes": ["events:read"]});
            app.post("/service-keys").bearer(&admin).json(&body).send()
        };
        let (one, two) = (
            create(format!("one {round}")).await.expect(201),
            create(format!("two {round}")).await.expect(201),
        );
        let rename = |key: &Value| {
            let call = app.put(&format!("/service-keys/{}", text(key, "id"))).bearer(&admin);
            let body = json!({"name": format!("contested {round}"), "scopes": ["events:read"]});
            call.header("if-match", "*").json(&body).send()
        };
        let (a, b) = tokio::join!(rename(&one), rename(&two));
        one_of([a, b], "service-key-name-taken");
    }
}

#[track_caller]
fn one_of<const N: usize>(replies: [Reply; N], code: &str) {
    let (done, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status.is_success());
    assert_eq!(done.len(), 1, "{refused:#?}");
    for reply in refused {
        reply.expect_problem(409, code);
    }
}
