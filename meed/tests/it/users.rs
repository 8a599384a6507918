//! `/users`

mod erasure;
mod external;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, on_both_engines};

const STRANGER: &str = "/users/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

async fn get(app: &TestApp, path: &str, token: &str) -> Reply {
    app.get(path).bearer(token).send().await
}

async fn change(app: &TestApp, id: &str, token: &str, body: Value) -> Reply {
    app.patch(&format!("/users/{id}"))
        .bearer(token)
        .json(&body)
        .send()
        .await
}

async fn set_attributes(app: &TestApp, id: &str, token: &str, body: Value) -> Reply {
    app.put(&format!("/users/{id}/attributes"))
        .bearer(token)
        .json(&body)
        .send()
        .await
}

fn emails(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items
        .iter()
        .map(|user| user["email"].as_str().expect("an e-mail"))
        .collect()
}

#[apply(on_both_engines)]
async fn every_route_lets_in_exactly_its_roles(app: TestApp) {
    let roles = [Role::User, Role::Operator, Role::Auditor, Role::Admin];
    let none = json!({});
    let matrix = [
        ("GET", "/users/me", &none, [200, 200, 200, 200]),
        ("GET", "/users", &none, [403, 403, 403, 200]),
        ("GET", STRANGER, &none, [404, 404, 404, 404]),
        ("PATCH", STRANGER, &none, [403, 403, 403, 404]),
        ("PUT", &format!("{STRANGER}/attributes"), &none, [403, 404, 403, 404]),
        ("POST", "/auth/logout", &none, [204, 204, 204, 204]),
    ];
    let mut tokens = Vec::new();
    for role in roles {
        tokens.push(app.token(role).await);
    }
    for (method, path, body, statuses) in matrix {
        app.call(method, path)
            .json(body)
            .send()
            .await
            .expect_problem(401, "unauthenticated");
        app.call(method, path)
            .json(body)
            .bearer("x")
            .send()
            .await
            .expect_problem(401, "invalid-token");
        for ((role, token), status) in roles.iter().zip(&tokens).zip(statuses) {
            let reply = app.call(method, path).json(body).bearer(token).send().await;
            assert_eq!(
                reply.status.as_u16(),
                status,
                "{role} {method} {path}: {:#}",
                reply.json
            );
        }
    }
}

#[apply(on_both_engines)]
async fn users_can_read_their_own_account(app: TestApp) {
    for role in [Role::User, Role::Operator, Role::Auditor, Role::Admin] {
        let user = app.user(role).await;
        let expected = json!({
            "id": user.id,
            "email": user.email,
            "externalId": null,
            "role": role,
            "inviteCode": user.invite_code,
            "invitedBy": null,
            "disabled": false,
            "createdAt": "2026-03-01T12:00:00.000Z",
            "attributes": {},
        });
        assert_eq!(get(&app, "/users/me", &user.token).await.expect(200), expected);
        assert_eq!(
            get(&app, &format!("/users/{}", user.id), &user.token).await.expect(200),
            expected
        );
    }
}

#[apply(on_both_engines)]
async fn only_an_admin_can_read_other_users_and_others_get_not_found(app: TestApp) {
    let (ada, admin) = (app.user(Role::User).await, app.token(Role::Admin).await);
    let path = format!("/users/{}", ada.id);
    for role in [Role::User, Role::Operator, Role::Auditor] {
        let token = app.token(role).await;
        let somebody = get(&app, &path, &token).await.expect_problem(404, "no-such-user");
        let nobody = get(&app, STRANGER, &token).await.expect_problem(404, "no-such-user");
        assert_eq!(somebody["title"], nobody["title"]);
        assert_eq!(somebody["detail"], format!("There is no user {}.", ada.id));
    }
    assert_eq!(get(&app, &path, &admin).await.expect(200)["email"], ada.email);
    get(&app, "/users/not-an-id", &admin)
        .await
        .expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn an_admin_lists_users_with_pages_and_filters(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let mut made = vec![admin.email.clone()];
    for minute in 1..=4 {
        app.at(&format!("2026-03-01T12:0{minute}:00Z"));
        made.push(
            app.user(if minute == 2 { Role::Auditor } else { Role::User })
                .await
                .email,
        );
    }
    made.reverse();
    assert_eq!(emails(&get(&app, "/users", &admin.token).await.expect(200)), made);

    let first = get(&app, "/users?pageSize=3", &admin.token).await.expect(200);
    assert_eq!(emails(&first), made[..3]);
    let token = first["nextPageToken"].as_str().expect("more");
    let second = get(&app, &format!("/users?pageSize=3&pageToken={token}"), &admin.token)
        .await
        .expect(200);
    assert_eq!(emails(&second), made[3..]);
    assert_eq!(second["nextPageToken"], Value::Null);

    let auditors = get(&app, "/users?role=AUDITOR", &admin.token).await.expect(200);
    assert_eq!(emails(&auditors), [made[2].as_str()]);
    let named = format!("/users?email={}", made[0].to_uppercase());
    assert_eq!(
        emails(&get(&app, &named, &admin.token).await.expect(200)),
        [made[0].as_str()]
    );
    let neither = format!("/users?email={}&role=ADMIN", made[0]);
    assert!(emails(&get(&app, &neither, &admin.token).await.expect(200)).is_empty());

    for query in [
        "role=ROOT",
        "email=x",
        "email=%00",
        "email=%27%20OR%201=1",
        "pageSize=0",
        "pageSize=x",
        "pageToken=x",
    ] {
        get(&app, &format!("/users?{query}"), &admin.token)
            .await
            .expect_problem(400, "invalid-parameter");
    }
}

#[apply(on_both_engines)]
async fn an_admin_can_change_only_role_and_state(app: TestApp) {
    let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
    let changed = change(
        &app,
        &user.id,
        &admin.token,
        json!({"role": "AUDITOR", "disabled": true}),
    )
    .await
    .expect(200);
    assert_eq!(
        (&changed["role"], &changed["disabled"]),
        (&json!("AUDITOR"), &json!(true))
    );
    let enabled = change(&app, &user.id, &admin.token, json!({"disabled": false}))
        .await
        .expect(200);
    assert_eq!(
        (&enabled["role"], &enabled["disabled"]),
        (&json!("AUDITOR"), &json!(false))
    );

    for body in [
        json!({"email": "other@example.com"}),
        json!({"id": admin.id}),
        json!({"inviteCode": "AAAAAAAAAA"}),
        json!({"password": "another password"}),
        json!({"attributes": {"level": 99}}),
        json!({"role": "ROOT"}),
        json!({"disabled": "yes"}),
        json!([]),
    ] {
        change(&app, &user.id, &admin.token, body)
            .await
            .expect_problem(422, "invalid-body");
    }
    let after = get(&app, &format!("/users/{}", user.id), &admin.token)
        .await
        .expect(200);
    assert_eq!(
        (&after["email"], &after["role"]),
        (&json!(user.email), &json!("AUDITOR"))
    );
}

#[apply(on_both_engines)]
async fn a_change_without_effect_ends_no_session(app: TestApp) {
    let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
    for body in [json!({}), json!({"role": "USER"}), json!({"disabled": false})] {
        change(&app, &user.id, &admin.token, body).await.expect(200);
    }
    get(&app, "/users/me", &user.token).await.expect(200);
}

#[apply(on_both_engines)]
async fn only_an_admin_can_change_roles(app: TestApp) {
    for role in [Role::User, Role::Operator, Role::Auditor] {
        let user = app.user(role).await;
        change(&app, &user.id, &user.token, json!({"role": "ADMIN"}))
            .await
            .expect_problem(403, "forbidden");
        assert_eq!(
            get(&app, "/users/me", &user.token).await.expect(200)["role"],
            json!(role)
        );
    }
}

#[apply(on_both_engines)]
async fn the_last_admin_cannot_be_demoted_or_disabled(app: TestApp) {
    let (first, second) = (app.user(Role::Admin).await, app.user(Role::Admin).await);
    change(&app, &second.id, &first.token, json!({"disabled": true}))
        .await
        .expect(200);
    for body in [
        json!({"role": "USER"}),
        json!({"disabled": true}),
        json!({"role": "OPERATOR", "disabled": true}),
    ] {
        change(&app, &first.id, &first.token, body)
            .await
            .expect_problem(409, "last-admin");
    }
    change(
        &app,
        &first.id,
        &first.token,
        json!({"role": "ADMIN", "disabled": false}),
    )
    .await
    .expect(200);
    change(&app, &second.id, &first.token, json!({"disabled": false}))
        .await
        .expect(200);
    change(&app, &first.id, &first.token, json!({"role": "USER"}))
        .await
        .expect(200);
    get(&app, "/users", &first.token)
        .await
        .expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn two_admins_who_demote_each_other_concurrently_leave_one(app: TestApp) {
    for _ in 0..5 {
        let mut tx = app.app.db.begin().await.expect("a transaction");
        tx.query("UPDATE users SET role = 'USER'")
            .execute(&mut tx)
            .await
            .expect("no admins are left over");
        tx.commit().await.expect("a commit");
        let (first, second) = (app.user(Role::Admin).await, app.user(Role::Admin).await);
        let demote = |by: &str, whom: &str| {
            let call = app
                .patch(&format!("/users/{whom}"))
                .bearer(by)
                .json(&json!({"role": "USER"}));
            tokio::spawn(call.send())
        };
        let (one, other) = (demote(&first.token, &second.id), demote(&second.token, &first.id));
        let statuses = [
            one.await.expect("an answer").status,
            other.await.expect("an answer").status,
        ];
        let (admins,): (i64,) = app
            .app
            .db
            .query("SELECT COUNT(*) FROM users WHERE role = 'ADMIN'")
            .fetch_one(&app.app.db)
            .await
            .expect("a count");
        assert_eq!(admins, 1, "{statuses:?}");
    }
}

#[apply(on_both_engines)]
async fn operators_and_admins_can_set_attributes_and_the_user_can_read_them(app: TestApp) {
    let user = app.user(Role::User).await;
    for role in [Role::Operator, Role::Admin] {
        let token = app.token(role).await;
        let body = json!({"level": 42, "region": "KR", "beta": true, "ratio": -1.5, "weight": 10.0, "by": role});
        let expected =
            json!({"level": "42", "region": "KR", "beta": "true", "ratio": "-1.5", "weight": "10", "by": role});
        let answer = set_attributes(&app, &user.id, &token, body).await.expect(200);
        assert_eq!(answer["attributes"], expected);
        assert_eq!(
            get(&app, "/users/me", &user.token).await.expect(200)["attributes"],
            expected
        );
    }
}

#[apply(on_both_engines)]
async fn users_and_auditors_cannot_set_their_own_attributes(app: TestApp) {
    for role in [Role::User, Role::Auditor] {
        let user = app.user(role).await;
        set_attributes(&app, &user.id, &user.token, json!({"level": 99}))
            .await
            .expect_problem(403, "forbidden");
        assert_eq!(
            get(&app, "/users/me", &user.token).await.expect(200)["attributes"],
            json!({})
        );
    }
}

#[apply(on_both_engines)]
async fn setting_attributes_replaces_all_and_keeps_the_history(app: TestApp) {
    let (operator, user) = (app.token(Role::Operator).await, app.user(Role::User).await);
    // All at the same time: the last one set is valid.
    for body in [
        json!({"level": 1, "region": "KR"}),
        json!({"level": 2}),
        json!({"level": 3, "region": "JP"}),
        json!({"level": 3, "region": "JP"}),
        json!({}),
        json!({"level": 4}),
    ] {
        set_attributes(&app, &user.id, &operator, body).await.expect(200);
    }
    // A clock that steps back does not hide a newer value either.
    app.at("2026-03-01T11:00:00Z");
    let admin = app.token(Role::Admin).await;
    set_attributes(&app, &user.id, &admin, json!({"level": 5}))
        .await
        .expect(200);
    let seen = get(&app, &format!("/users/{}", user.id), &admin).await.expect(200);
    assert_eq!(seen["attributes"], json!({"level": "5"}));

    let history: Vec<(String, Option<String>)> = app
        .app
        .db
        .query("SELECT name, value FROM user_attributes ORDER BY name, set_at, id")
        .fetch_all(&app.app.db)
        .await
        .expect("the history");
    let history: Vec<_> = history
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect();
    assert_eq!(
        history,
        [
            ("level", Some("1")),
            ("level", Some("2")),
            ("level", Some("3")),
            ("level", None),
            ("level", Some("4")),
            ("level", Some("5")),
            ("region", Some("KR")),
            ("region", None),
            ("region", Some("JP")),
            ("region", None),
        ]
    );
}

#[apply(on_both_engines)]
async fn every_attribute_is_checked(app: TestApp) {
    let (operator, user) = (app.token(Role::Operator).await, app.user(Role::User).await);
    for (body, pointer) in [
        (json!({"level": [1]}), "/level"),
        (json!({"level": 1e300}), "/level"),
        (json!({"some.name": {"a": 1}}), "/some.name"),
        (json!({"level": "x".repeat(257)}), "/level"),
        (json!({"level": "a\u{0}b"}), "/level"),
        (json!({"": 1}), "/"),
        (json!({"no spaces": 1}), "/no spaces"),
        (json!([]), ""),
        (json!("level"), ""),
    ] {
        let problem = set_attributes(&app, &user.id, &operator, body.clone())
            .await
            .expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem:#}");
    }
    let many = |count: usize| -> Value { (0..count).map(|number| (format!("name{number}"), json!(1))).collect() };
    set_attributes(&app, &user.id, &operator, many(65))
        .await
        .expect_problem(422, "invalid-body");
    set_attributes(&app, &user.id, &operator, many(64)).await.expect(200);
}
