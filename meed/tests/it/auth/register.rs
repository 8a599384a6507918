//! `POST /auth/register`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{activities, count, login, me, register, set_disabled, text};
use crate::support::{PASSWORD, TestApp, on_both_engines};

#[apply(on_both_engines)]
async fn a_registered_user_can_log_in(app: TestApp) {
    let reply = register(&app, json!({"email": " Ada@Example.com ", "password": PASSWORD})).await;
    let location = reply.header("location").to_owned();
    let user = reply.expect(201);
    assert_eq!(location, format!("/users/{}", text(&user, "id")));
    assert_eq!((text(&user, "email"), text(&user, "role")), ("Ada@Example.com", "USER"));
    assert_eq!((&user["disabled"], &user["invitedBy"]), (&json!(false), &Value::Null));
    assert_eq!(text(&user, "inviteCode").len(), 10);
    assert!(
        !user.to_string().contains("assword") && !user.to_string().contains("argon2"),
        "{user:#}"
    );

    let pair = login(&app, "ADA@example.COM", PASSWORD).await.expect(200);
    assert_eq!((text(&pair, "tokenType"), &pair["expiresIn"]), ("Bearer", &json!(600)));
    assert_eq!(text(&pair, "refreshToken").len(), 43);
    assert_eq!(pair.as_object().map(serde_json::Map::len), Some(5));
    let me = me(&app, text(&pair, "accessToken")).await.expect(200);
    assert_eq!(me["id"], user["id"]);
}

#[apply(on_both_engines)]
async fn an_email_in_any_spelling_has_one_account(app: TestApp) {
    register(&app, json!({"email": "ada@example.com", "password": PASSWORD}))
        .await
        .expect(201);
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", "\tada@example.com "] {
        register(&app, json!({"email": email, "password": PASSWORD}))
            .await
            .expect_problem(409, "email-taken");
    }
    assert_eq!(count(&app, "SELECT COUNT(*) FROM users").await, 1);
}

#[apply(on_both_engines)]
async fn sixteen_concurrent_registrations_of_one_email_create_one_account(app: TestApp) {
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let body = json!({"email": "ada@example.com", "password": PASSWORD});
            tokio::spawn(app.post("/auth/register").json(&body).send())
        })
        .collect();
    let mut made = 0;
    for reply in tries {
        let reply = reply.await.expect("an answer");
        if reply.status == 201 {
            made += 1;
        } else {
            reply.expect_problem(409, "email-taken");
        }
    }
    assert_eq!(made, 1);
}

#[apply(on_both_engines)]
async fn only_an_admin_can_register_other_roles(app: TestApp) {
    let (user, operator, admin) = (
        app.token(Role::User).await,
        app.token(Role::Operator).await,
        app.token(Role::Admin).await,
    );
    for role in ["OPERATOR", "AUDITOR", "ADMIN"] {
        let body = json!({"email": format!("{role}@example.com"), "password": PASSWORD, "role": role});
        register(&app, body.clone())
            .await
            .expect_problem(401, "unauthenticated");
        for token in [&user, &operator] {
            app.post("/auth/register")
                .bearer(token)
                .json(&body)
                .send()
                .await
                .expect_problem(403, "forbidden");
        }
        let made = app
            .post("/auth/register")
            .bearer(&admin)
            .json(&body)
            .send()
            .await
            .expect(201);
        assert_eq!(made["role"], role);
    }
    let plain = json!({"email": "plain@example.com", "password": PASSWORD, "role": "USER"});
    assert_eq!(register(&app, plain.clone()).await.expect(201)["role"], "USER");
    app.post("/auth/register")
        .bearer("no token")
        .json(&plain)
        .send()
        .await
        .expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn every_field_of_a_registration_is_checked(app: TestApp) {
    let good = json!({"email": "ada@example.com", "password": PASSWORD});
    for (field, value) in [
        ("email", json!("ada")),
        ("email", json!("")),
        ("email", json!("ada@example.com\u{0}")),
        ("email", json!(format!("{}@example.com", "a".repeat(300)))),
        ("email", json!(7)),
        ("password", json!("short")),
        ("password", json!("x".repeat(129))),
        ("password", json!(12_345_678)),
        ("password", Value::Null),
        ("inviteCode", json!("0000000000")),
        ("inviteCode", json!("' OR 1=1 --")),
        ("inviteCode", json!("\u{0}")),
        ("inviteCode", json!("0".repeat(65))),
        ("role", json!("ROOT")),
        ("role", json!("admin")),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let problem = register(&app, body).await.expect_problem(422, "invalid-body");
        assert_eq!(
            problem["errors"][0]["pointer"],
            format!("/{field}"),
            "{value}: {problem:#}"
        );
    }
    for missing in ["email", "password"] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(missing);
        let problem = register(&app, body).await.expect_problem(422, "invalid-body");
        assert!(text(&problem, "detail").contains(missing), "{problem:#}");
    }
    assert_eq!(count(&app, "SELECT COUNT(*) FROM users").await, 0);
}

#[apply(on_both_engines)]
async fn a_registration_with_an_unknown_member_is_refused(app: TestApp) {
    for (member, value) in [
        ("id", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
        ("isAdmin", json!(true)),
        ("roles", json!(["ADMIN"])),
        ("Role", json!("ADMIN")),
        ("disabled", json!(false)),
        ("invitedBy", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
        ("invite_code", json!("AAAAAAAAAA")),
        ("createdAt", json!("2020-01-01T00:00:00Z")),
        ("passwordHash", json!("$argon2id$")),
        ("emailKey", json!("other@example.com")),
        ("attributes", json!({"level": 99})),
        ("user", json!({"role": "ADMIN"})),
        ("__proto__", json!({"role": "ADMIN"})),
    ] {
        let mut body = json!({"email": "ada@example.com", "password": PASSWORD});
        body[member] = value;
        register(&app, body).await.expect_problem(422, "invalid-body");
    }
    let twice = r#"{"email": "ada@example.com", "password": "correct horse", "role": "USER", "role": "ADMIN"}"#;
    let reply = app.post("/auth/register").bytes("application/json", twice).send().await;
    reply.expect_problem(422, "invalid-body");
    assert_eq!(count(&app, "SELECT COUNT(*) FROM users").await, 0);
}

#[apply(on_both_engines)]
async fn logins_and_refreshes_with_unknown_members_are_refused(app: TestApp) {
    let token = app.token(Role::User).await;
    for (path, body) in [
        (
            "/auth/login",
            json!({"email": "a@example.com", "password": PASSWORD, "remember": true}),
        ),
        ("/auth/refresh", json!({"refreshToken": "x", "role": "ADMIN"})),
    ] {
        app.post(path)
            .bearer(&token)
            .json(&body)
            .send()
            .await
            .expect_problem(422, "invalid-body");
    }
}

#[apply(on_both_engines)]
async fn an_invitation_credits_the_inviter_once(app: TestApp) {
    let app = app.replica(&[("auth.invitations_count_after", "registration")]);
    let inviter = register(&app, json!({"email": "ada@example.com", "password": PASSWORD}))
        .await
        .expect(201);
    let code = text(&inviter, "inviteCode").to_lowercase();
    let typed = format!("{}-{}", &code[..5], &code[5..]);
    let invitee = register(
        &app,
        json!({"email": "bob@example.com", "password": PASSWORD, "inviteCode": typed}),
    );
    let invitee = invitee.await.expect(201);
    assert_eq!(invitee["invitedBy"], inviter["id"]);
    let again = json!({"email": "bob@example.com", "password": PASSWORD, "inviteCode": code});
    register(&app, again).await.expect_problem(409, "email-taken");

    let (ada, bob) = (text(&inviter, "id").to_owned(), text(&invitee, "id").to_owned());
    let mut expected = vec![
        ("invite.accepted".to_owned(), ada.clone(), json!({"inviteeId": bob})),
        ("user.registered".to_owned(), ada, json!({})),
        ("user.registered".to_owned(), bob, json!({})),
    ];
    let mut recorded = activities(&app).await;
    recorded.sort_by_key(|(kind, user, _)| (kind.clone(), user.clone()));
    expected.sort_by_key(|(kind, user, _)| (kind.clone(), user.clone()));
    assert_eq!(recorded, expected);
}

#[apply(on_both_engines)]
async fn a_disabled_account_cannot_invite(app: TestApp) {
    let (admin, inviter) = (app.token(Role::Admin).await, app.user(Role::User).await);
    set_disabled(&app, &admin, &inviter, true).await;
    let body = json!({"email": "bob@example.com", "password": PASSWORD, "inviteCode": inviter.invite_code});
    register(&app, body).await.expect_problem(422, "invalid-body");
}

#[apply(on_both_engines)]
async fn an_invitation_counts_when_the_first_activity_of_the_invitee_is_reported(app: TestApp) {
    let inviter = app.user(Role::User).await;
    let mut invitees = Vec::new();
    for name in ["bob", "eve"] {
        let body = json!({
            "email": format!("{name}@example.com"), "password": PASSWORD, "inviteCode": inviter.invite_code,
        });
        invitees.push(text(&register(&app, body).await.expect(201), "id").to_owned());
        // Registering and logging in is not enough.
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        app.post("/auth/login").json(&body).send().await.expect(200);
    }
    let accepted = async || -> Vec<Value> {
        let path = format!("/users/{}/activities?kind=invite.accepted", inviter.id);
        let page = app.get(&path).bearer(&inviter.token).send().await.expect(200);
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| json!([item["attributes"]["inviteeId"], item["occurredAt"]]))
            .collect()
    };
    assert_eq!(accepted().await, Vec::<Value>::new());
    app.at("2026-03-01T12:05:00Z");
    let operator = app.operator().await;
    for (id, occurred_at) in [
        ("order-1", "2026-02-01T00:00:00Z"),
        ("order-1", "2026-02-01T00:00:00Z"),
        ("order-2", "2026-03-01T12:00:00Z"),
    ] {
        let purchase = json!({
            "source": "shop", "id": id, "userId": invitees[0], "kind": "shop.purchase", "occurredAt": occurred_at,
        });
        let reply = app.post("/activities").bearer(&operator).json(&purchase).send().await;
        assert!(reply.status.is_success(), "{:#}", reply.json);
    }
    // Once, and now: the invitee cannot date it back.
    assert_eq!(accepted().await, [json!([invitees[0], "2026-03-01T12:05:00.000Z"])]);
}
