//! What a rejection costs the database

use std::collections::BTreeSet;
use std::time::Duration;

use meed_host::auth::Role;
use reqwest::{Response, StatusCode};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::statements;
use crate::faults::fleet::{Fleet, client};
use crate::support::{TestApp, TestUser, on_both_engines, text};

/// What a statement of a claim is for, by a text that only it contains.
const KINDS: [(&str, &str); 6] = [
    ("AS part", "facts"),
    ("refusal = $", "same"),
    ("INTO reward_requests", "commit"),
    ("AS TEXT), CAST(NULL AS BIGINT) FROM pending_claims", "key"),
    ("INTO idempotency_keys", "response"),
    ("reward_requests", "other"),
];

struct Claims {
    fleet: Fleet,
    http: reqwest::Client,
    event: Value,
    user: TestUser,
}

impl Claims {
    /// Of a user who has no seven days yet.
    async fn on(app: &TestApp) -> Self {
        let ranges = json!({"startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z"});
        let event = app.event("login-streak", json!({"days": 7}), ranges).await;
        let claims = Self {
            user: app.user(Role::User).await,
            fleet: Fleet::start_on(app, &app.database_url(), 1, &statements::LOGGED).await,
            http: client(),
            event,
        };
        // The session and the event are cached from now on.
        claims.progress().await;
        claims
    }

    async fn progress(&self) {
        let path = format!("/events/{}/progress", text(&self.event, "id"));
        let call = self.http.get(format!("{}{path}", self.fleet.address(0)));
        let answer = call.bearer_auth(&self.user.token).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }

    async fn claim(&self, key: Option<&str>) -> Response {
        let call = self.http.post(format!("{}/reward-requests", self.fleet.address(0)));
        let call = call.bearer_auth(&self.user.token);
        let call = match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        let call = call.json(&json!({"eventId": self.event["id"]}));
        call.send().await.expect("an answer")
    }

    fn kinds(&self) -> Vec<&'static str> {
        let kind = |sql: &String| {
            let known = KINDS.iter().find(|(text, _)| sql.contains(text));
            known.map(|(_, kind)| *kind)
        };
        statements::of(&self.fleet).iter().filter_map(kind).collect()
    }

    /// The statements of one claim, sorted.
    async fn statements_of(&self, key: Option<&str>, status: u16) -> Vec<&'static str> {
        let before = self.kinds().len();
        assert_eq!(self.claim(key).await.status().as_u16(), status);
        let mut kinds = self.kinds().split_off(before);
        kinds.sort_unstable();
        kinds
    }
}

#[apply(on_both_engines)]
async fn a_rejection_costs_two_statements_and_its_repeat_one(app: TestApp) {
    let claims = Claims::on(&app.in_real_time()).await;
    assert_eq!(claims.statements_of(None, 201).await, ["commit", "facts"]);
    assert_eq!(claims.statements_of(None, 200).await, ["facts"]);
    // The response is stored under the key.
    assert_eq!(claims.statements_of(Some("k"), 201).await, ["facts", "key", "response"]);
}

#[apply(on_both_engines)]
async fn equal_rejections_of_the_same_moment_are_decided_once_each(app: TestApp) {
    const CLAIMS: usize = 24;
    let claims = Claims::on(&app.in_real_time()).await;
    let before = claims.kinds().len();
    let answers = futures_util::future::join_all((0..CLAIMS).map(async |number| {
        let key = format!("k-{number}");
        claims.claim((number % 3 == 0).then_some(key.as_str())).await
    }));
    let (mut created, mut ids) = (0, BTreeSet::new());
    for answer in answers.await {
        created += usize::from(answer.status() == StatusCode::CREATED);
        assert!(answer.status().is_success(), "{}", answer.status());
        let request: Value = answer.json().await.expect("a request");
        ids.insert(text(&request, "id").to_owned());
    }
    assert_eq!(ids.len(), 1);
    // The first one, and those under a key, of which the first one may be one.
    assert!((CLAIMS / 3..=CLAIMS / 3 + 1).contains(&created), "{created}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let kinds = claims.kinds().split_off(before);
    let read = kinds.iter().filter(|kind| **kind == "facts").count();
    assert!(read <= CLAIMS, "{read} reads of facts for {CLAIMS} claims");
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 1);
    let keys = app.count("SELECT COUNT(*) FROM idempotency_keys").await;
    assert_eq!(keys, i64::try_from(CLAIMS / 3).expect("few"));
}
