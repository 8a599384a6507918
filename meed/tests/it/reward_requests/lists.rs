//! Who sees which reward requests

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use crate::support::{TestApp, each, on_both_engines, text};

#[apply(on_both_engines)]
async fn operators_and_auditors_see_all_and_filter_them(app: TestApp) {
    let streak = app.event("login-streak", json!({"days": 2}), json!({})).await;
    let open = app.event("first-come", json!({}), json!({})).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let eve = app.user(Role::User).await;
    let mut ids = Vec::new();
    for (minute, user, event) in [
        (1, &ada, &streak),
        (2, &ada, &open),
        (3, &bob, &streak),
        (4, &bob, &open),
        (5, &eve, &streak),
    ] {
        app.at(&format!("2026-03-01T12:0{minute}:00Z"));
        ids.insert(
            0,
            text(&app.claim(&user.token, event).send().await.expect(201), "id").to_owned(),
        );
    }
    let (streak, ada) = (text(&streak, "id"), ada.id.as_str());
    for (query, expected) in [
        (String::new(), vec![0, 1, 2, 3, 4]),
        (format!("eventId={streak}"), vec![0, 2, 4]),
        (format!("userId={ada}"), vec![3, 4]),
        (format!("userId={ada}&eventId={streak}"), vec![4]),
        ("status=GRANTED".to_owned(), vec![1, 3]),
        ("status=REJECTED".to_owned(), vec![0, 2, 4]),
        ("status=FAILED".to_owned(), vec![]),
        ("from=2026-03-01T12:03:00Z".to_owned(), vec![0, 1, 2]),
        ("to=2026-03-01T12:03:00Z".to_owned(), vec![3, 4]),
        (
            "from=2026-03-01T21:02:00%2B09:00&to=2026-03-01T12:04:00Z&status=REJECTED".to_owned(),
            vec![2],
        ),
    ] {
        let path = format!("/reward-requests?{query}");
        let page = app.read(&path).await;
        let expected: Vec<_> = expected.iter().map(|place: &usize| ids[*place].as_str()).collect();
        assert_eq!(each(&page["items"], "id"), expected, "{query}");
        let auditor = app.auditor().await;
        assert_eq!(app.get(&path).bearer(&auditor).send().await.expect(200), page);
    }
    let token = app.operator().await;
    for query in [
        "status=granted",
        "status=DONE",
        "eventId=7",
        "userId=me",
        "from=today",
        "to=1",
        "pageSize=0",
        "pageToken=%00",
    ] {
        let reply = app
            .get(&format!("/reward-requests?{query}"))
            .bearer(&token)
            .send()
            .await;
        reply.expect_problem(400, "invalid-parameter");
    }

    let mut seen = Vec::new();
    let mut path = "/reward-requests?pageSize=2".to_owned();
    loop {
        let page = app.read(&path).await;
        seen.extend(each(&page["items"], "id").into_iter().map(str::to_owned));
        let Some(token) = page["nextPageToken"].as_str() else {
            break;
        };
        path = format!("/reward-requests?pageSize=2&pageToken={token}");
    }
    assert_eq!(seen, ids);
}

#[apply(on_both_engines)]
async fn users_see_their_own_only(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let granted = app.claim(&ada.token, &event).send().await.expect(201);
    let path = format!("/reward-requests/{}", text(&granted, "id"));
    for path in [path.clone(), format!("{path}/receipt")] {
        app.get(&path)
            .bearer(&bob.token)
            .send()
            .await
            .expect_problem(404, "no-such-reward-request");
        app.get(&path).bearer(&ada.token).send().await.expect(200);
    }
    for token in [app.operator().await, app.auditor().await] {
        assert_eq!(app.get(&path).bearer(&token).send().await.expect(200), granted);
    }
    let mine = async |token: &str, query: &str| {
        let path = format!("/reward-requests/mine{query}");
        let page = app.get(&path).bearer(token).send().await.expect(200);
        page["items"].as_array().map(Vec::len)
    };
    assert_eq!(
        (mine(&ada.token, "").await, mine(&bob.token, "").await),
        (Some(1), Some(0))
    );
    // A user cannot request another user's list.
    assert_eq!(mine(&bob.token, &format!("?userId={}", ada.id)).await, Some(0));
    assert_eq!(mine(&ada.token, "?status=REJECTED").await, Some(0));
    assert_eq!(
        mine(&ada.token, &format!("?eventId={}", text(&event, "id"))).await,
        Some(1)
    );
    app.get("/reward-requests")
        .bearer(&ada.token)
        .send()
        .await
        .expect_problem(403, "forbidden");
    let nobody = "/reward-requests/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    app.get(nobody)
        .bearer(&ada.token)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    app.get("/reward-requests/7")
        .bearer(&ada.token)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
}
