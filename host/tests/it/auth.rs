//! `/auth` and the check of access tokens

mod forged;

use std::time::{Duration, Instant as Stopwatch};

use meed_host::auth::Role;
use serde_json::{Value, json};

use crate::support::{PASSWORD, Reply, TestApp, on_both_engines};

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    let (count,): (i64,) = app.app.db.query(sql).fetch_one(&app.app.db).await.expect(sql);
    count
}

const LIVE_REFRESH_TOKENS: &str = "SELECT COUNT(*) FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id \
    WHERE r.consumed_at IS NULL AND s.ended_at IS NULL";

/// Kind, user and attributes of every activity, in the order they were recorded.
async fn activities(app: &TestApp) -> Vec<(String, String, Value)> {
    let rows: Vec<(String, uuid::Uuid, meed_host::db::Json<Value>)> = app
        .app
        .db
        .query("SELECT kind, user_id, attributes FROM activities ORDER BY kind, source_id")
        .fetch_all(&app.app.db)
        .await
        .expect("the activities");
    rows.into_iter()
        .map(|(kind, user, attributes)| (kind, user.to_string(), attributes.0))
        .collect()
}

async fn register(app: &TestApp, body: Value) -> Reply {
    app.post("/auth/register").json(&body).send().await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    app.post("/auth/login").json(&body).send().await
}

async fn refresh(app: &TestApp, refresh_token: &str) -> Reply {
    let body = json!({"refreshToken": refresh_token});
    app.post("/auth/refresh").json(&body).send().await
}

async fn me(app: &TestApp, token: &str) -> Reply {
    app.get("/users/me").bearer(token).send().await
}

/// The body without what differs from request to request.
fn without_request_id(mut body: Value) -> Value {
    body.as_object_mut().expect("an object").remove("requestId");
    body
}

fn text<'a>(body: &'a Value, member: &str) -> &'a str {
    body[member].as_str().unwrap_or_else(|| panic!("{member} in {body:#}"))
}

on_both_engines! {
    async fn registering_makes_a_user_who_can_log_in(app: TestApp) {
        let reply = register(&app, json!({"email": " Ada@Example.com ", "password": PASSWORD})).await;
        let location = reply.header("location").to_owned();
        let user = reply.expect(201);
        assert_eq!(location, format!("/users/{}", text(&user, "id")));
        assert_eq!((text(&user, "email"), text(&user, "role")), ("Ada@Example.com", "USER"));
        assert_eq!((&user["disabled"], &user["invitedBy"]), (&json!(false), &Value::Null));
        assert_eq!(text(&user, "inviteCode").len(), 10);
        assert!(!user.to_string().contains("assword") && !user.to_string().contains("argon2"), "{user:#}");

        let pair = login(&app, "ADA@example.COM", PASSWORD).await.expect(200);
        assert_eq!((text(&pair, "tokenType"), &pair["expiresIn"]), ("Bearer", &json!(600)));
        assert_eq!(text(&pair, "refreshToken").len(), 43);
        assert_eq!(pair.as_object().map(serde_json::Map::len), Some(4));
        let me = me(&app, text(&pair, "accessToken")).await.expect(200);
        assert_eq!(me["id"], user["id"]);
    }

    async fn an_email_has_one_account_however_it_is_written(app: TestApp) {
        register(&app, json!({"email": "ada@example.com", "password": PASSWORD})).await.expect(201);
        for email in ["ada@example.com", "ADA@EXAMPLE.COM", "\tada@example.com "] {
            register(&app, json!({"email": email, "password": PASSWORD})).await.expect_problem(409, "email-taken");
        }
        assert_eq!(count(&app, "SELECT COUNT(*) FROM users").await, 1);
    }

    async fn sixteen_registrations_of_one_email_make_one_account(app: TestApp) {
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

    async fn only_an_admin_registers_other_roles(app: TestApp) {
        let (user, operator, admin) =
            (app.token(Role::User).await, app.token(Role::Operator).await, app.token(Role::Admin).await);
        for role in ["OPERATOR", "AUDITOR", "ADMIN"] {
            let body = json!({"email": format!("{role}@example.com"), "password": PASSWORD, "role": role});
            register(&app, body.clone()).await.expect_problem(401, "unauthenticated");
            for token in [&user, &operator] {
                app.post("/auth/register").bearer(token).json(&body).send().await.expect_problem(403, "forbidden");
            }
            let made = app.post("/auth/register").bearer(&admin).json(&body).send().await.expect(201);
            assert_eq!(made["role"], role);
        }
        let plain = json!({"email": "plain@example.com", "password": PASSWORD, "role": "USER"});
        assert_eq!(register(&app, plain.clone()).await.expect(201)["role"], "USER");
        app.post("/auth/register").bearer("no token").json(&plain).send().await.expect_problem(401, "invalid-token");
    }

    async fn a_registration_is_checked_field_by_field(app: TestApp) {
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
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{value}: {problem:#}");
        }
        for missing in ["email", "password"] {
            let mut body = good.clone();
            body.as_object_mut().expect("an object").remove(missing);
            let problem = register(&app, body).await.expect_problem(422, "invalid-body");
            assert!(text(&problem, "detail").contains(missing), "{problem:#}");
        }
        assert_eq!(count(&app, "SELECT COUNT(*) FROM users").await, 0);
    }

    async fn no_member_beyond_the_four_is_taken(app: TestApp) {
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

    async fn every_body_refuses_members_it_does_not_know(app: TestApp) {
        let token = app.token(Role::User).await;
        for (path, body) in [
            ("/auth/login", json!({"email": "a@example.com", "password": PASSWORD, "remember": true})),
            ("/auth/refresh", json!({"refreshToken": "x", "role": "ADMIN"})),
        ] {
            app.post(path).bearer(&token).json(&body).send().await.expect_problem(422, "invalid-body");
        }
    }

    async fn an_invitation_credits_the_inviter_once(app: TestApp) {
        let inviter = register(&app, json!({"email": "ada@example.com", "password": PASSWORD})).await.expect(201);
        let code = text(&inviter, "inviteCode").to_lowercase();
        let typed = format!("{}-{}", &code[..5], &code[5..]);
        let invitee = register(&app, json!({"email": "bob@example.com", "password": PASSWORD, "inviteCode": typed}));
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

    async fn a_disabled_account_invites_nobody(app: TestApp) {
        let (admin, inviter) = (app.token(Role::Admin).await, app.user(Role::User).await);
        let path = format!("/users/{}", inviter.id);
        app.patch(&path).bearer(&admin).json(&json!({"disabled": true})).send().await.expect(200);
        let body = json!({"email": "bob@example.com", "password": PASSWORD, "inviteCode": inviter.invite_code});
        register(&app, body).await.expect_problem(422, "invalid-body");
    }

    async fn a_login_is_an_activity_at_its_instant(app: TestApp) {
        let ada = register(&app, json!({"email": "ada@example.com", "password": PASSWORD})).await.expect(201);
        let instant = app.at("2026-03-02T07:00:00Z");
        app.login("ada@example.com", PASSWORD).await;
        app.login("ada@example.com", PASSWORD).await;
        login(&app, "ada@example.com", "wrong password").await.expect_problem(401, "wrong-credentials");
        let logins: Vec<(uuid::Uuid, i64)> = app
            .app
            .db
            .query("SELECT user_id, occurred_at FROM activities WHERE kind = 'auth.login'")
            .fetch_all(&app.app.db)
            .await
            .expect("the logins");
        let expected = (text(&ada, "id").parse().expect("an id"), instant.as_millis());
        assert_eq!(logins, [expected, expected]);
    }

    async fn every_failed_login_looks_the_same(app: TestApp) {
        let (admin, user, disabled) =
            (app.token(Role::Admin).await, app.user(Role::User).await, app.user(Role::User).await);
        let path = format!("/users/{}", disabled.id);
        app.patch(&path).bearer(&admin).json(&json!({"disabled": true})).send().await.expect(200);

        let mut answers = Vec::new();
        for (email, password) in [
            (user.email.as_str(), "wrong password"),
            (user.email.as_str(), ""),
            (user.email.as_str(), "correct horse battery "),
            ("nobody@example.com", PASSWORD),
            ("not an e-mail", PASSWORD),
            ("' OR 1=1 --", PASSWORD),
            ("", PASSWORD),
            (disabled.email.as_str(), PASSWORD),
            (disabled.email.as_str(), "wrong password"),
        ] {
            let reply = login(&app, email, password).await;
            let headers: Vec<_> = reply
                .headers
                .iter()
                .filter(|(name, _)| *name != "x-request-id")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let length = reply.bytes.len();
            answers.push((headers, length, without_request_id(reply.expect_problem(401, "wrong-credentials"))));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    }

    async fn a_login_for_nobody_takes_as_long_as_one_for_somebody(app: TestApp) {
        let user = app.user(Role::User).await;
        let mut fastest = [Duration::MAX; 2];
        for _ in 0..8 {
            for (fastest, email) in fastest.iter_mut().zip([user.email.as_str(), "nobody@example.com"]) {
                let started = Stopwatch::now();
                login(&app, email, "wrong password").await.expect_problem(401, "wrong-credentials");
                *fastest = started.elapsed().min(*fastest);
            }
        }
        // Without a hash for nobody this would be a factor of ten and more.
        let [somebody, nobody] = fastest.map(|time| time.as_secs_f64());
        assert!((0.5..2.0).contains(&(nobody / somebody)), "somebody {somebody}, nobody {nobody}");
    }

    async fn beyond_the_queue_a_login_is_told_to_come_back(app: TestApp) {
        let app = app.replica(&[("auth.password_concurrency", "1"), ("auth.password_queue", "1")]).await;
        let tries: Vec<_> = (0..16)
            .map(|_| {
                let body = json!({"email": "nobody@example.com", "password": PASSWORD});
                tokio::spawn(app.post("/auth/login").json(&body).send())
            })
            .collect();
        let mut refused = 0;
        for reply in tries {
            let reply = reply.await.expect("an answer");
            if reply.status == 503 {
                assert_eq!(reply.header("retry-after"), "1");
                reply.expect_problem(503, "password-queue-full");
                refused += 1;
            } else {
                reply.expect_problem(401, "wrong-credentials");
            }
        }
        assert!((1..=14).contains(&refused), "{refused} of 16 were refused");
        login(&app, "nobody@example.com", PASSWORD).await.expect_problem(401, "wrong-credentials");
    }

    async fn a_refresh_gives_a_new_pair_and_uses_up_the_old_token(app: TestApp) {
        let user = app.user(Role::User).await;
        app.at("2026-03-01T12:05:00Z");
        let second = refresh(&app, &user.refresh_token).await.expect(200);
        assert_ne!(text(&second, "refreshToken"), user.refresh_token);
        me(&app, text(&second, "accessToken")).await.expect(200);
        let third = refresh(&app, text(&second, "refreshToken")).await.expect(200);

        refresh(&app, text(&second, "refreshToken")).await.expect_problem(401, "refresh-token-reused");
        // The whole family is dead: the newest refresh token and every access token.
        refresh(&app, text(&third, "refreshToken")).await.expect_problem(401, "invalid-refresh-token");
        for token in [&user.token, text(&second, "accessToken"), text(&third, "accessToken")] {
            me(&app, token).await.expect_problem(401, "invalid-token");
        }
        assert_eq!(count(&app, LIVE_REFRESH_TOKENS).await, 0);
        let reused = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'REFRESH_REUSED'";
        assert_eq!(count(&app, reused).await, 1);
    }

    async fn a_reused_token_ends_its_own_session_only(app: TestApp) {
        let user = app.user(Role::User).await;
        let other = app.login(&user.email, user.password).await;
        refresh(&app, &user.refresh_token).await.expect(200);
        refresh(&app, &user.refresh_token).await.expect_problem(401, "refresh-token-reused");
        me(&app, text(&other, "accessToken")).await.expect(200);
        refresh(&app, text(&other, "refreshToken")).await.expect(200);
    }

    async fn of_64_parallel_refreshes_at_most_one_leaf_lives(app: TestApp) {
        let replica = app.replica(&[]).await;
        for round in 0..3 {
            let user = app.user(Role::User).await;
            let tries: Vec<_> = (0..64)
                .map(|number| {
                    let process = if number % 2 == 0 { &app } else { &replica };
                    let body = json!({"refreshToken": user.refresh_token});
                    tokio::spawn(process.post("/auth/refresh").json(&body).send())
                })
                .collect();
            let mut pairs = Vec::new();
            for reply in tries {
                let reply = reply.await.expect("an answer");
                if reply.status == 200 {
                    pairs.push(reply.json);
                } else {
                    reply.expect_problem(401, "refresh-token-reused");
                }
            }
            assert_eq!(pairs.len(), 1, "round {round}");
            assert!(count(&app, LIVE_REFRESH_TOKENS).await <= 1, "round {round}");
            refresh(&app, text(&pairs[0], "refreshToken")).await.expect_problem(401, "invalid-refresh-token");
        }
    }

    async fn what_never_was_a_refresh_token_is_refused(app: TestApp) {
        let user = app.user(Role::User).await;
        let other_case = user.refresh_token.to_lowercase();
        for token in ["", "x", "' OR 1=1 --", &user.token, &other_case, &user.refresh_token[1..]] {
            refresh(&app, token).await.expect_problem(401, "invalid-refresh-token");
        }
        for body in [json!({}), json!({"refreshToken": null}), json!({"refreshToken": "x".repeat(1025)}), json!({"refreshToken": "\u{0}"})] {
            app.post("/auth/refresh").json(&body).send().await.expect_problem(422, "invalid-body");
        }
        refresh(&app, &user.refresh_token).await.expect(200);
    }

    async fn a_refresh_token_is_stored_only_as_its_hash(app: TestApp) {
        use aws_lc_rs::digest::{SHA256, digest};
        let user = app.user(Role::User).await;
        let (hash,): (Vec<u8>,) =
            app.app.db.query("SELECT hash FROM refresh_tokens").fetch_one(&app.app.db).await.expect("one token");
        assert_eq!(hash, digest(&SHA256, user.refresh_token.as_bytes()).as_ref());
    }

    async fn a_refresh_token_that_lies_idle_dies(app: TestApp) {
        let (used, idle) = (app.user(Role::User).await, app.user(Role::User).await);
        app.at("2026-03-31T11:59:59Z");
        let used = refresh(&app, &used.refresh_token).await.expect(200);
        app.at("2026-03-31T12:00:00Z");
        refresh(&app, &idle.refresh_token).await.expect_problem(401, "invalid-refresh-token");
        app.at("2026-04-30T11:59:58Z");
        refresh(&app, text(&used, "refreshToken")).await.expect(200);
    }

    async fn a_session_ends_ninety_days_after_its_login_however_often_it_is_refreshed(app: TestApp) {
        let user = app.user(Role::User).await;
        let mut token = user.refresh_token;
        for day in ["2026-03-25T12:00:00Z", "2026-04-20T12:00:00Z", "2026-05-15T12:00:00Z", "2026-05-30T11:55:00Z"] {
            app.at(day);
            let pair = refresh(&app, &token).await.expect(200);
            token = text(&pair, "refreshToken").to_owned();
            // An access token does not outlive the session either.
            let left = if day.starts_with("2026-05-30") { 300 } else { 600 };
            assert_eq!(pair["expiresIn"], left, "{day}");
        }
        app.at("2026-05-30T12:00:00Z");
        refresh(&app, &token).await.expect_problem(401, "invalid-refresh-token");
    }

    async fn logging_out_ends_the_session_and_its_access_token(app: TestApp) {
        let user = app.user(Role::User).await;
        let other = app.login(&user.email, user.password).await;
        me(&app, &user.token).await.expect(200);
        let reply = app.post("/auth/logout").bearer(&user.token).send().await;
        assert_eq!((reply.status.as_u16(), reply.bytes.len()), (204, 0));
        me(&app, &user.token).await.expect_problem(401, "invalid-token");
        app.post("/auth/logout").bearer(&user.token).send().await.expect_problem(401, "invalid-token");
        refresh(&app, &user.refresh_token).await.expect_problem(401, "invalid-refresh-token");
        me(&app, text(&other, "accessToken")).await.expect(200);
        app.post("/auth/logout").send().await.expect_problem(401, "unauthenticated");
    }

    async fn another_process_learns_of_a_logout_when_its_cache_is_old(app: TestApp) {
        let replica = app.replica(&[("auth.session_cache_seconds", "1")]).await;
        let user = app.user(Role::User).await;
        me(&replica, &user.token).await.expect(200);
        app.post("/auth/logout").bearer(&user.token).send().await.expect(204);
        let started = Stopwatch::now();
        while me(&replica, &user.token).await.status == 200 {
            assert!(started.elapsed() < Duration::from_secs(3), "the replica still trusts its cache");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        me(&replica, &user.token).await.expect_problem(401, "invalid-token");
    }

    async fn a_known_session_needs_no_database(app: TestApp) {
        let (known, unknown) = (app.user(Role::User).await, app.user(Role::User).await);
        me(&app, &known.token).await.expect(200);
        app.app.db.close().await;
        // Forbidden comes from the role in the token: the session was not asked for.
        app.get("/users").bearer(&known.token).send().await.expect_problem(403, "forbidden");
        app.get("/users").bearer(&unknown.token).send().await.expect_problem(503, "unavailable");
    }

    async fn a_changed_role_ends_every_session_at_once(app: TestApp) {
        let (admin, operator) = (app.user(Role::Admin).await, app.user(Role::Operator).await);
        app.get("/rewards").bearer(&operator.token).send().await.expect(200);
        let path = format!("/users/{}", operator.id);
        app.patch(&path).bearer(&admin.token).json(&json!({"role": "USER"})).send().await.expect(200);
        app.get("/rewards").bearer(&operator.token).send().await.expect_problem(401, "invalid-token");
        refresh(&app, &operator.refresh_token).await.expect_problem(401, "invalid-refresh-token");
        let pair = app.login(&operator.email, operator.password).await;
        app.get("/rewards").bearer(text(&pair, "accessToken")).send().await.expect_problem(403, "forbidden");
        let changed = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'ROLE_CHANGED'";
        assert_eq!(count(&app, changed).await, 1);
    }

    async fn a_role_that_differs_from_the_tokens_is_refused(app: TestApp) {
        // Even when the session lives: as if it had been opened while the role changed.
        let operator = app.user(Role::Operator).await;
        let mut tx = app.app.db.begin().await.expect("a transaction");
        tx.query("UPDATE users SET role = 'USER'").execute(&mut tx).await.expect("the role changes");
        tx.commit().await.expect("a commit");
        app.get("/rewards").bearer(&operator.token).send().await.expect_problem(401, "invalid-token");
        let pair = refresh(&app, &operator.refresh_token).await.expect(200);
        assert_eq!(me(&app, text(&pair, "accessToken")).await.expect(200)["role"], "USER");
    }

    async fn a_disabled_account_is_out_at_once_and_stays_out(app: TestApp) {
        let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
        me(&app, &user.token).await.expect(200);
        let path = format!("/users/{}", user.id);
        let disabled = app.patch(&path).bearer(&admin.token).json(&json!({"disabled": true})).send().await.expect(200);
        assert_eq!(disabled["disabled"], true);
        me(&app, &user.token).await.expect_problem(401, "invalid-token");
        refresh(&app, &user.refresh_token).await.expect_problem(401, "invalid-refresh-token");
        login(&app, &user.email, user.password).await.expect_problem(401, "wrong-credentials");

        app.patch(&path).bearer(&admin.token).json(&json!({"disabled": false})).send().await.expect(200);
        me(&app, &user.token).await.expect_problem(401, "invalid-token");
        refresh(&app, &user.refresh_token).await.expect_problem(401, "invalid-refresh-token");
        app.login(&user.email, user.password).await;
    }

    async fn an_access_token_lives_exactly_ten_minutes(app: TestApp) {
        let user = app.user(Role::User).await;
        app.at("2026-03-01T12:09:59.999Z");
        me(&app, &user.token).await.expect(200);
        app.at("2026-03-01T12:10:00Z");
        me(&app, &user.token).await.expect_problem(401, "invalid-token");
        app.at("2026-03-01T11:59:59.999Z");
        me(&app, &user.token).await.expect_problem(401, "invalid-token");
    }

    async fn after_a_new_key_old_tokens_stay_good(app: TestApp) {
        let user = app.user(Role::User).await;
        app.at("2026-03-01T12:01:00Z");
        meed_host::cli::keys::generate(&app.keys_directory(), &app.clock, false).expect("new keys");
        let restarted = app.replica(&[]).await;
        me(&restarted, &user.token).await.expect(200);
        let pair = restarted.login(&user.email, user.password).await;
        me(&restarted, text(&pair, "accessToken")).await.expect(200);
        // A process that was not restarted does not know the new key yet.
        me(&app, text(&pair, "accessToken")).await.expect_problem(401, "invalid-token");
        assert_eq!(restarted.get("/.well-known/jwks.json").send().await.expect(200)["keys"].as_array().map(Vec::len), Some(2));
    }

    async fn the_public_keys_are_published(app: TestApp) {
        let mut ids = Vec::new();
        for path in ["/.well-known/jwks.json", "/.well-known/receipt-keys.json"] {
            let reply = app.get(path).send().await;
            assert_eq!(reply.header("cache-control"), "public, max-age=300");
            let set = reply.expect(200);
            let key = &set["keys"][0];
            assert_eq!(
                (text(key, "kty"), text(key, "crv"), text(key, "alg"), text(key, "use")),
                ("OKP", "Ed25519", "EdDSA", "sig")
            );
            assert_eq!(text(key, "x").len(), 43);
            assert_eq!(key.as_object().map(serde_json::Map::len), Some(6), "no private member: {key:#}");
            ids.push(text(key, "kid").to_owned());
        }
        assert_ne!(ids[0], ids[1]);
        let user = app.user(Role::User).await;
        let header = jsonwebtoken::decode_header(&user.token).expect("a header");
        assert_eq!((header.typ.as_deref(), header.kid.as_ref()), (Some("at+jwt"), Some(&ids[0])));
    }
}
