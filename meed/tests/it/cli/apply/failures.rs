//! Changes between plan and apply, failures in the middle, servers that are busy, and many objects.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rstest_reuse::apply;
use serde_json::json;

use super::{SCOPES, Site, pair};
use crate::support::{TestApp, on_both_engines, text};

/// What stands between the command and the server. It sees the number of each writing request, from 1, and may answer itself.
async fn between<F, A>(site: &Site, answer: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(usize) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Option<Response>> + Send,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (server, http) = (site.address.clone(), reqwest::Client::new());
    let (writes, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = all.clone();
    let forward = move |request: Request| {
        let (server, http, answer) = (server.clone(), http.clone(), answer.clone());
        let (writes, all) = (writes.clone(), all.clone());
        async move {
            all.fetch_add(1, Ordering::Relaxed);
            if request.method() != "GET" {
                let number = writes.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(own) = answer(number).await {
                    return own;
                }
            }
            let (parts, body) = request.into_parts();
            let url = format!("{server}{}", parts.uri);
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let mut headers = parts.headers;
            headers.remove("host");
            let sent = http.request(parts.method, url).headers(headers).body(body).send();
            let sent = sent.await.expect("an answer");
            let mut response = Response::builder().status(sent.status());
            for (name, value) in sent.headers() {
                response = response.header(name, value);
            }
            response
                .body(Body::from(sent.bytes().await.expect("a body")))
                .expect("a response")
        }
    };
    let router = axum::Router::new().fallback(forward);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, counted)
}

const APPLY: &[&str] = &["apply", "-f", "rules.yaml", "--yes"];

#[apply(on_both_engines)]
async fn a_change_between_plan_and_apply_is_not_overwritten(app: TestApp) {
    let site = Arc::new(Site::with_key(&app, SCOPES).await);
    site.install().await;
    site.rules(&pair("Streak", 10));
    site.apply(&[]).code(0);
    let coupon = site.named("/rewards", "coupon").await;
    let meanwhile = {
        let (site, coupon) = (site.clone(), coupon.clone());
        move |number: usize| {
            let (site, coupon) = (site.clone(), coupon.clone());
            async move {
                if number == 1 {
                    site.change("/rewards", &coupon, json!({"type": "COUPON", "stock": 77}))
                        .await;
                }
                None
            }
        }
    };
    let (address, _) = between(&site, meanwhile).await;
    for overwrite in [None, Some("--overwrite")] {
        site.rules(&pair("Streak", 20));
        let told = site.run_at(&address, &[APPLY, overwrite.as_slice()].concat());
        if overwrite.is_none() {
            told.fails(&[
                "reward-changed",
                "0 of 1 changes were made",
                "not done: change reward \"coupon\"",
            ]);
            assert_eq!(site.named("/rewards", "coupon").await["stock"], 77);
        } else {
            told.code(0);
        }
    }

    // Nor is an object that appeared.
    site.rules("rewards:\n  new: {type: POINT}\n");
    let appears = {
        let app = Arc::new(site.app.in_real_time());
        move |_: usize| {
            let app = app.clone();
            async move {
                app.reward(json!({"name": "new", "type": "ITEM"})).await;
                None
            }
        }
    };
    let (address, _) = between(&site, appears).await;
    site.run_at(&address, APPLY).fails(&["reward-name-taken"]);
    assert_eq!(site.named("/rewards", "new").await["type"], "ITEM");
}

#[apply(on_both_engines)]
async fn after_a_failure_in_the_middle_a_second_run_goes_on(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    let mut rules = pair("Streak", 10);
    for number in 0..3 {
        let _ = write!(
            rules,
            "  more-{number}:\n    title: M\n    startDate: 2090-01-01T00:00:00Z\n    endDate: 2090-02-01T00:00:00Z\n    \
             rewards: [coupon]\n    condition: {{plugin: always@1.2.3}}\n"
        );
    }
    site.rules(&rules);
    let fails = |number: usize| async move { (number == 4).then(|| StatusCode::BAD_GATEWAY.into_response()) };
    let (address, _) = between(&site, fails).await;
    let told = site.run_at(&address, APPLY).fails(&[
        "3 of 5 changes were made; run apply again to continue",
        "done: create reward \"coupon\"",
        "done: create event \"more-1\"",
        "not done: create event \"more-2\"",
        "not done: create event \"streak\"",
        "502 Bad Gateway",
    ]);
    assert!(
        told.find("not done") > told.find("done: create event \"more-1\""),
        "{told}"
    );
    assert!(site.diff().code(2).contains("Plan: 2 to create."));
    site.apply(&[]).code(0);
    assert!(site.diff().code(0).contains("No changes"));
    let streak = site.named("/events", "streak").await;
    assert_eq!(
        streak["rewardIds"][0],
        site.named("/rewards", "coupon").await["id"],
        "{}",
        text(&streak, "id")
    );
}

#[apply(on_both_engines)]
async fn a_server_that_is_busy_is_asked_again_after_its_time(app: TestApp) {
    let site = Site::with_key(&app, SCOPES).await;
    site.rules("rewards:\n  a: {type: POINT}\n");
    let busy = |number: usize| async move {
        let status = match number {
            1 => StatusCode::TOO_MANY_REQUESTS,
            2 => StatusCode::SERVICE_UNAVAILABLE,
            _ => return None,
        };
        Some((status, [("retry-after", "1")], "{}").into_response())
    };
    let (address, _) = between(&site, busy).await;
    let started = std::time::Instant::now();
    site.run_at(&address, APPLY).code(0);
    assert!(started.elapsed().as_millis() >= 2_000, "{:?}", started.elapsed());
    assert!(site.named("/rewards", "a").await.is_object());
    // It does not wait for ever.
    site.rules("rewards:\n  b: {type: POINT}\n");
    let away = |_: usize| async { Some((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3600")]).into_response()) };
    let (address, _) = between(&site, away).await;
    site.run_at(&address, APPLY).fails(&["503 Service Unavailable"]);
}

#[apply(on_both_engines)]
async fn a_thousand_objects_need_a_request_each_and_few_to_read(app: TestApp) {
    const MANY: usize = 1_000;
    let site = Site::with_key(&app, SCOPES).await;
    site.install().await;
    let rules = |title: &str| {
        let (mut rewards, mut events) = ("rewards:\n".to_owned(), "events:\n".to_owned());
        for number in 0..MANY / 2 {
            let _ = writeln!(rewards, "  r-{number}: {{type: POINT, value: {number}}}");
            let _ = writeln!(
                events,
                "  e-{number}: {{title: {title}, startDate: 2090-01-01T00:00:00Z, endDate: 2090-02-01T00:00:00Z, rewards: \
                 [r-{number}], condition: {{plugin: always@1.2.3}}}}"
            );
        }
        rewards + &events
    };
    let (address, requests) = between(&site, |_| async { None }).await;
    site.rules(&rules("One"));
    let started = std::time::Instant::now();
    site.run_at(&address, APPLY).code(0);
    println!("apply | {MANY} objects created in {:?}", started.elapsed());
    assert!(requests.swap(0, Ordering::Relaxed) <= MANY + 10);
    let started = std::time::Instant::now();
    site.run_at(&address, &["diff", "-f", "rules.yaml"]).code(0);
    println!("apply | {MANY} objects compared in {:?}", started.elapsed());
    // Pages of 200: three for the rewards, three for the events, one each for plugins and groups.
    assert_eq!(requests.swap(0, Ordering::Relaxed), 8);
}
