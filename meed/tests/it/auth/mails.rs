//! `POST /auth/password-reset-mail`, `POST /auth/email-confirmation-mail` and `POST /auth/email-confirmation`, with a real SMTP
//! server

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{login, register, set_disabled, text};
use crate::faults::fleet::Fleet;
use crate::support::{PASSWORD, Reply, SmtpServer, TestApp, authority, certificate, free_port, on_both_engines};

const NEW: &str = "staple a new battery";

/// The same database, with mails to this server.
fn mailing(app: &TestApp, address: &str, settings: &[(&str, &str)]) -> TestApp {
    let mut all = vec![
        ("mail.server", address),
        ("mail.encryption", "off"),
        ("mail.from", "Meed <meed@example.com>"),
    ];
    all.extend_from_slice(settings);
    app.replica(&all)
}

async fn ask(app: &TestApp, what: &str, email: &str) -> Reply {
    let call = app.post(&format!("/auth/{what}-mail"));
    call.json(&json!({"email": email})).send().await
}

async fn ask_for_reset(app: &TestApp, email: &str) {
    let reply = ask(app, "password-reset", email).await;
    assert_eq!((reply.status.as_u16(), reply.bytes.len()), (202, 0));
}

async fn send(app: &TestApp) -> usize {
    app.app.mailing.send_due().await.expect("the database works")
}

async fn reset(app: &TestApp, token: &str) -> Reply {
    let body = json!({"token": token, "newPassword": NEW});
    app.post("/auth/password-reset").json(&body).send().await
}

/// State, attempts and last error of every mail, oldest first.
async fn mails(app: &TestApp) -> Vec<(String, i64, Option<String>)> {
    let query = app
        .app
        .db
        .query("SELECT state, attempts, last_error FROM mails ORDER BY id");
    query.fetch_all(&app.app.db).await.expect("the mails")
}

fn later(app: &TestApp, time: Duration) {
    app.clock.set(app.clock.now().plus(time));
}

#[apply(on_both_engines)]
async fn a_mail_lets_the_owner_set_a_new_password(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    let ada = app.user(Role::Operator).await;
    ask_for_reset(&app, &ada.email.to_uppercase()).await;
    assert!(server.is_quiet(), "the request itself sends nothing");
    assert_eq!(send(&app).await, 1);
    let mail = server.next();
    assert_eq!(
        (mail.from.as_str(), &mail.to),
        ("meed@example.com", &vec![ada.email.clone()]),
        "to the stored address, and not to the spelling of the request"
    );
    for part in [
        "Subject: Set a new password",
        "From: Meed <meed@example.com>",
        "valid once and for an hour",
    ] {
        assert!(mail.content.contains(part), "{part} is not in {}", mail.content);
    }
    assert_eq!(mails(&app).await, [("SENT".to_owned(), 1, None)]);
    reset(&app, mail.token()).await.expect(204);
    reset(&app, mail.token())
        .await
        .expect_problem(401, "invalid-reset-token");
    login(&app, &ada.email, NEW).await.expect(200);
    assert_eq!(send(&app).await, 0);

    let auditor = app.auditor().await;
    let entries = app
        .get("/audit?action=mail-sender")
        .bearer(&auditor)
        .send()
        .await
        .expect(200);
    assert_eq!(entries["items"][0]["targetId"], json!(ada.id), "{entries:#}");
}

#[apply(on_both_engines)]
async fn a_link_leads_to_the_page_of_the_settings(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let page = [("mail.reset_page", "https://shop.example.com/p?t=")];
    let app = mailing(&app, &server.address(), &page);
    let ada = app.user(Role::User).await;
    ask_for_reset(&app, &ada.email).await;
    send(&app).await;
    // Long lines are broken for the transport.
    let content = server
        .next()
        .content
        .replace("=\n", "")
        .replace("=\r\n", "")
        .replace("=3D", "=");
    assert!(content.contains("https://shop.example.com/p?t="), "{content}");
}

#[apply(on_both_engines)]
async fn the_answer_does_not_tell_who_has_an_account(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    let (admin, disabled) = (app.token(Role::Admin).await, app.user(Role::User).await);
    set_disabled(&app, &admin, &disabled, true).await;
    for email in ["nobody@example.com", &disabled.email] {
        ask_for_reset(&app, email).await;
    }
    assert_eq!(send(&app).await, 2);
    assert!(server.is_quiet());
    let dropped = ("DROPPED".to_owned(), 1, None);
    assert_eq!(mails(&app).await, [dropped.clone(), dropped]);
    ask(&app, "password-reset", "no address")
        .await
        .expect_problem(422, "invalid-body");
}

#[apply(on_both_engines)]
async fn a_client_cannot_flood_a_mailbox(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    let (ada, ben) = (app.user(Role::User).await, app.user(Role::User).await);
    for number in 0..8 {
        let spelled = if number % 2 == 0 {
            ada.email.clone()
        } else {
            ada.email.to_uppercase()
        };
        ask_for_reset(&app, &spelled).await;
    }
    ask_for_reset(&app, &ben.email).await;
    assert_eq!(send(&app).await, 4);
    let to: Vec<String> = (0..4).map(|_| server.next().to[0].to_lowercase()).collect();
    assert_eq!(to.iter().filter(|to| **to == ada.email).count(), 3);
    assert!(server.is_quiet());
    later(&app, Duration::from_hours(1));
    ask_for_reset(&app, &ada.email).await;
    assert_eq!(send(&app).await, 1);
    assert_eq!(server.next().to, std::slice::from_ref(&ada.email));
    // At most ten within a day, of all kinds.
    for _ in 0..8 {
        later(&app, Duration::from_hours(1));
        ask_for_reset(&app, &ada.email).await;
        ask(&app, "email-confirmation", &ada.email).await.expect(202);
    }
    assert_eq!(mails(&app).await.len(), 10 + 1);
    // Mails are forgotten after a week.
    later(&app, Duration::from_hours(7 * 24 + 2));
    assert_eq!(app.app.mailing.prune().await.expect("a sweep"), 11);
    assert!(mails(&app).await.is_empty());
}

#[apply(on_both_engines)]
async fn concurrent_requests_do_not_pass_the_limit(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    let ada = app.user(Role::User).await;
    let requests: Vec<_> = (0..12)
        .map(|_| {
            let call = app.post("/auth/password-reset-mail");
            tokio::spawn(call.json(&json!({"email": ada.email})).send())
        })
        .collect();
    for request in requests {
        request.await.expect("an answer").expect(202);
    }
    assert_eq!(mails(&app).await.len(), 3);
}

#[apply(on_both_engines)]
async fn a_full_queue_takes_no_more(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    ask_for_reset(&app, "first@example.com").await;
    let copy = "INSERT INTO mails (id, kind, email_key, state, attempts, created_at, next_at) \
        SELECT $1, kind, $2, state, attempts, created_at, next_at FROM mails WHERE email_key = 'first@example.com'";
    for number in 1..1_000 {
        let query = app.app.db.query(copy).bind(app.clock.new_id());
        let query = query.bind(format!("{number}@example.com"));
        let mut tx = app.app.db.begin().await.expect("a transaction");
        query.execute(&mut tx).await.expect("a row");
        tx.commit().await.expect("a commit");
    }
    ask_for_reset(&app, "last@example.com").await;
    assert_eq!(mails(&app).await.len(), 1_000);
    send(&app).await;
    ask_for_reset(&app, "last@example.com").await;
    assert_eq!(mails(&app).await.len(), 1_001);
}

/// A stranger who knows an e-mail cannot take away the token that an ADMIN gave to its owner.
#[apply(on_both_engines)]
async fn a_mail_does_not_invalidate_the_token_of_an_admin(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    let (admin, ada) = (app.token(Role::Admin).await, app.user(Role::User).await);
    let permit = app.post(&format!("/users/{}/password-reset", ada.id));
    let permitted = permit.bearer(&admin).send().await.expect(201);
    ask_for_reset(&app, &ada.email).await;
    send(&app).await;
    let mail = server.next();
    reset(&app, text(&permitted, "token")).await.expect(204);
    // The other token ends with it.
    reset(&app, mail.token())
        .await
        .expect_problem(401, "invalid-reset-token");
}

#[apply(on_both_engines)]
async fn a_server_that_is_down_or_busy_gets_the_mail_later(app: TestApp) {
    let port = free_port();
    let app = mailing(&app, &format!("127.0.0.1:{port}"), &[]);
    let ada = app.user(Role::User).await;
    ask_for_reset(&app, &ada.email).await;
    assert_eq!(send(&app).await, 1);
    let stored = mails(&app).await.remove(0);
    assert_eq!((stored.0.as_str(), stored.1), ("PENDING", 1));
    assert!(stored.2.is_some_and(|error| error.contains("onnection")));
    assert_eq!(send(&app).await, 0, "not before its pause is over");

    let server = SmtpServer::start_at(port, &json!({"busy": 1}));
    later(&app, Duration::from_mins(1));
    assert_eq!(send(&app).await, 1);
    let stored = mails(&app).await.remove(0);
    assert!(stored.2.is_some_and(|error| error.contains("try again later")));
    later(&app, Duration::from_mins(5));
    assert_eq!(send(&app).await, 1);
    reset(&app, server.next().token()).await.expect(204);
    assert_eq!(mails(&app).await, [("SENT".to_owned(), 3, None)]);
}

#[apply(on_both_engines)]
async fn a_refused_recipient_is_not_tried_again(app: TestApp) {
    let ada = app.user(Role::User).await;
    let server = SmtpServer::start(&json!({"refuse": [&ada.email]}));
    let app = mailing(&app, &server.address(), &[]);
    ask_for_reset(&app, &ada.email).await;
    assert_eq!(send(&app).await, 1);
    let stored = mails(&app).await.remove(0);
    assert_eq!((stored.0.as_str(), stored.1), ("FAILED", 1));
    assert!(stored.2.is_some_and(|error| error.contains("no such mailbox")));
    later(&app, Duration::from_hours(48));
    assert_eq!(send(&app).await, 0);
}

/// Filters name the link that they dislike.
#[apply(on_both_engines)]
async fn a_refusal_that_repeats_the_text_does_not_reveal_the_token(app: TestApp) {
    let server = SmtpServer::start(&json!({"repeat": true}));
    let app = mailing(&app, &server.address(), &[]);
    let ada = app.user(Role::User).await;
    ask_for_reset(&app, &ada.email).await;
    assert_eq!(send(&app).await, 1);
    let stored = mails(&app).await.remove(0);
    assert_eq!((stored.0.as_str(), stored.1), ("FAILED", 1));
    let error = stored.2.expect("an error");
    assert!(error.contains("disliked: [secret]"), "{error}");
}

#[apply(on_both_engines)]
async fn a_slow_server_is_given_up_and_tried_again(app: TestApp) {
    let server = SmtpServer::start(&json!({"delay": 60}));
    let app = mailing(&app, &server.address(), &[]);
    let ada = app.user(Role::User).await;
    ask_for_reset(&app, &ada.email).await;
    let started = std::time::Instant::now();
    assert_eq!(send(&app).await, 1);
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    let stored = mails(&app).await.remove(0);
    assert_eq!((stored.0.as_str(), stored.1), ("PENDING", 1));
}

#[apply(on_both_engines)]
async fn of_two_processes_one_sends_a_mail(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let (first, second) = (
        mailing(&app, &server.address(), &[]),
        mailing(&app, &server.address(), &[]),
    );
    let ada = app.user(Role::User).await;
    ask_for_reset(&first, &ada.email).await;
    let (one, other) = tokio::join!(send(&first), send(&second));
    assert_eq!(one + other, 1);
    server.next();
    assert!(server.is_quiet());
}

#[apply(on_both_engines)]
async fn a_registration_is_confirmed_before_the_first_login(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[("mail.confirm_registrations", "true")]);
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    register(&app, body.clone()).await.expect(201);
    login(&app, "ada@example.com", PASSWORD)
        .await
        .expect_problem(403, "email-unconfirmed");
    // Only the owner of the password learns that.
    login(&app, "ada@example.com", "not the password")
        .await
        .expect_problem(401, "wrong-credentials");
    send(&app).await;
    let first = server.next();
    assert!(
        first.content.contains("Confirm your e-mail address"),
        "{}",
        first.content
    );
    ask(&app, "email-confirmation", "ada@example.com").await.expect(202);
    send(&app).await;
    let second = server.next();
    let confirm = async |token: &str| {
        let call = app.post("/auth/email-confirmation");
        call.json(&json!({"token": token})).send().await
    };
    // Only the newest token is valid.
    for token in [first.token(), "", "x", &"A".repeat(64)] {
        confirm(token).await.expect_problem(401, "invalid-confirmation-token");
    }
    confirm(second.token()).await.expect(204);
    confirm(second.token())
        .await
        .expect_problem(401, "invalid-confirmation-token");
    login(&app, "ada@example.com", PASSWORD).await.expect(200);
    // A confirmed account gets no further mail, and an ADMIN's accounts need none.
    ask(&app, "email-confirmation", "ada@example.com").await.expect(202);
    let admin = app.token(Role::Admin).await;
    let staff = json!({"email": "ben@example.com", "password": PASSWORD, "role": "OPERATOR"});
    let call = app.post("/auth/register").bearer(&admin).json(&staff);
    call.send().await.expect(201);
    login(&app, "ben@example.com", PASSWORD).await.expect(200);
    send(&app).await;
    assert!(server.is_quiet());
    // An expired token is not valid, but a password reset proves the e-mail, too.
    let body = json!({"email": "eve@example.com", "password": PASSWORD});
    register(&app, body).await.expect(201);
    send(&app).await;
    let expired = server.next();
    later(&app, Duration::from_hours(1));
    confirm(expired.token())
        .await
        .expect_problem(401, "invalid-confirmation-token");
    ask_for_reset(&app, "eve@example.com").await;
    send(&app).await;
    reset(&app, server.next().token()).await.expect(204);
    login(&app, "eve@example.com", NEW).await.expect(200);
}

/// Otherwise a registration and a login would together tell whether an e-mail had an account.
#[apply(on_both_engines)]
async fn a_login_hides_that_an_account_is_unconfirmed_if_registrations_hide_it(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let settings = [
        ("mail.confirm_registrations", "true"),
        ("auth.hide_registered_emails", "true"),
    ];
    let app = mailing(&app, &server.address(), &settings);
    let ben = app.user(Role::User).await;
    for email in ["ada@example.com", &ben.email] {
        let body = json!({"email": email, "password": NEW});
        register(&app, body).await.expect(202);
        login(&app, email, NEW).await.expect_problem(401, "wrong-credentials");
    }
    send(&app).await;
    assert_eq!(server.next().to, ["ada@example.com"]);
    assert!(server.is_quiet());
}

#[apply(on_both_engines)]
async fn without_a_server_there_are_no_mails(app: TestApp) {
    for what in ["password-reset", "email-confirmation"] {
        ask(&app, what, "ada@example.com").await.expect_problem(404, "no-mail");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_starttls_and_auth_is_used_if_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (ours, theirs) = (authority(folder.path(), "ours"), authority(folder.path(), "theirs"));
    let (ours, theirs) = (ours.display().to_string(), theirs.display().to_string());
    let (certificate, key) = certificate(folder.path());
    let options = json!({"tls": [certificate, key], "auth": ["meed", "a password"]});
    let server = SmtpServer::start(&options);
    let app = TestApp::on_sqlite().await.in_real_time();
    let ada = app.user(Role::User).await;
    let address = format!("localhost:{}", server.port());
    let ask = async |fleet: &Fleet| {
        let url = format!("{}/auth/password-reset-mail", fleet.address(0));
        let call = reqwest::Client::new().post(url).json(&json!({"email": ada.email}));
        assert_eq!(call.send().await.expect("an answer").status(), 202);
    };
    for (trusted, password, error) in [
        (&theirs, "a password", Some("ertificate")),
        (&ours, "another password", Some("535")),
        (&ours, "a password", None),
    ] {
        let settings = [
            ("MEED__MAIL__SERVER", address.as_str()),
            ("MEED__MAIL__FROM", "meed@example.com"),
            ("MEED__MAIL__USERNAME", "meed"),
            ("MEED__MAIL__PASSWORD", password),
            ("SSL_CERT_FILE", trusted),
        ];
        let fleet = Fleet::start_on(&app, &app.database_url(), 1, &settings).await;
        ask(&fleet).await;
        if let Some(error) = error {
            let failed = async {
                loop {
                    let newest = mails(&app).await.pop().and_then(|(_, _, error)| error);
                    if let Some(newest) = newest {
                        return newest;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let failed = tokio::time::timeout(Duration::from_secs(30), failed)
                .await
                .expect("an attempt");
            assert!(failed.contains(error), "{failed}");
        } else {
            let taken = server.next();
            assert!(taken.encrypted && taken.authenticated, "{taken:?}");
            assert_eq!(taken.to, std::slice::from_ref(&ada.email));
        }
    }
}

/// What a hostile name in an address or a subject could do is excluded by the form of addresses.
#[apply(on_both_engines)]
async fn an_address_cannot_inject_headers(app: TestApp) {
    let server = SmtpServer::start(&json!({}));
    let app = mailing(&app, &server.address(), &[]);
    for email in [
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\nSubject: x",
        "<ada@example.com>, eve@example.com",
        "ada@example.com,eve@example.com",
    ] {
        let body = json!({"email": email});
        let reply = app.post("/auth/password-reset-mail").json(&body).send().await;
        reply.expect_problem(422, "invalid-body");
    }
}
