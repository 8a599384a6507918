//! Commits with an unknown outcome: the connection to PostgreSQL is cut around them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meed_host::db::Db;
use serde_json::{Value, json};

use super::claims::{Ask, Clients, View, id_of};
use super::fixtures::{daily, event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::seed::size;
use crate::rewards::codes::coupon;
use crate::support::{TestApp, reviewing, with};

const WIDTH: usize = 16;

/// Two processes whose database connections go through a proxy.
async fn behind_a_proxy(rng: &mut fastrand::Rng, fixtures: &TestApp) -> (Proxy, Fleet) {
    let proxy = Proxy::start(rng.fork(), server_of(&fixtures.database_url())).await;
    let fleet = Fleet::start_on(fixtures, &proxy.before(&fixtures.database_url()), 2, &[]).await;
    (proxy, fleet)
}

/// `HOST:PORT` of a URL.
pub(super) fn server_of(url: &str) -> &str {
    let (_, rest) = url.split_once('@').expect("a user");
    rest.split('/').next().expect("a host")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_under_a_key_is_neither_lost_nor_repeated() {
    let mut run = Run::begin("A3 replies to COMMIT are lost");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &fixtures).await;
    let stock = size(80, 300);
    let users = fixtures.crowd(2 * stock).await;
    let scarce = limited(&fixtures, stock).await;
    let five = points(&fixtures, 5).await;
    let once = event(&fixtures, &[&scarce], json!({})).await;
    // The stock equals the number of claims, so that counting a claim twice causes a rejection.
    let budget = json!({"budget": {"period": "DAILY", "grants": 3 * users.len(), "amount": 15 * users.len()}});
    let places = json!({"recurrence": {"period": "DAILY", "count": 4}});
    let often = event(&fixtures, &[&five], with(budget, places)).await;
    proxy.set(Toxics {
        lost_commits: 0.2,
        ..Toxics::default()
    });
    let mut asks = Vec::new();
    for user in &users {
        asks.push(Ask::new(user, &once).under(rng.u64(..)));
        for _ in 0..3 {
            asks.push(Ask::new(user, &often).under(rng.u64(..)));
        }
    }
    rng.shuffle(&mut asks);
    let clients = Clients::new(&fleet);
    let mut view = View::of(clients.all(&mut rng, &asks, WIDTH).await);
    assert!(proxy.cuts() >= 10, "only {} commits were cut off", proxy.cuts());
    let refused: Vec<_> = view.answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(refused.is_empty(), "refused without a second claim: {refused:#?}");
    let granted = view
        .answers
        .iter()
        .filter(|answer| answer.is_granted() && answer.ask.event == id_of(&often));
    assert_eq!(granted.count(), 3 * users.len());
    assert_eq!(
        fixtures
            .count("SELECT COUNT(*) FROM reward_requests")
            .await
            .unsigned_abs(),
        asks.len() as u64
    );
    // A reversal with a lost response can be repeated too, and the returned stock is granted once.
    let operator = fixtures.operator().await;
    let mix = Mix {
        clients: &clients,
        operator: &operator,
        reversed: 0,
        width: WIDTH,
    };
    let grants = view.answers.iter().filter(|answer| answer.is_granted());
    let grants: Vec<_> = grants.map(|answer| (answer.ask.clone(), id_of(&answer.body))).collect();
    for (ask, request) in grants.iter().take(size(40, 200)) {
        mix.reverse(&mut rng, ask, *request, &mut view).await;
    }
    run.count("commits cut off", proxy.cuts());
    proxy.set(Toxics::default());
    view.answers
        .extend(clients.all(&mut rng, &asks[..asks.len() / 2], WIDTH).await);
    let again: Vec<_> = users
        .iter()
        .map(|user| Ask::new(user, &once).under(rng.u64(..)))
        .collect();
    view.answers.extend(clients.all(&mut rng, &again, WIDTH).await);
    run.count("broken off", clients.broken());
    run.saw(&view);
    invariants::check(&fixtures, &view, &[&scarce]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_given_to_one_grant_and_none_is_lost() {
    let mut run = Run::begin("A3 replies to COMMIT are lost, rewards with codes");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &fixtures).await;
    let count = size(80, 300);
    let users = fixtures.crowd(count + count / 2).await;
    let reward = coupon(&fixtures, count, json!({})).await;
    let events = [
        event(&fixtures, &[&reward], json!({})).await,
        event(&fixtures, &[&reward], json!({})).await,
    ];
    let asks: Vec<_> = users
        .iter()
        .map(|user| Ask::new(user, &events[rng.usize(..2)]).under(rng.u64(..)))
        .collect();
    proxy.set(Toxics {
        lost_commits: 0.25,
        ..Toxics::default()
    });
    let clients = Clients::new(&fleet);
    let mut view = View::of(clients.all(&mut rng, &asks, WIDTH).await);
    run.count("commits cut off", proxy.cuts());
    assert!(proxy.cuts() >= 10, "only {} commits were cut off", proxy.cuts());
    proxy.set(Toxics::default());
    view.answers.extend(clients.all(&mut rng, &asks, WIDTH).await);
    run.saw(&view);
    let mut given: BTreeMap<String, uuid::Uuid> = BTreeMap::new();
    for answer in view.answers.iter().filter(|answer| answer.is_granted()) {
        let shown = answer.body["grants"][0]["codes"].as_array().expect("codes");
        assert_eq!(shown.len(), 1, "{answer:#?}");
        let code = shown[0].as_str().expect("a code").to_owned();
        let request = id_of(&answer.body);
        let before = given.insert(code.clone(), request);
        assert!(before.is_none_or(|before| before == request), "{code} was given twice");
    }
    let granted: BTreeSet<_> = given.values().collect();
    assert_eq!(
        (given.len(), granted.len()),
        (count, count),
        "every code, each to one request"
    );
    let left = fixtures.read(&format!("/rewards/{}/codes", id_of(&reward))).await;
    assert_eq!((&left["total"], &left["remaining"]), (&json!(count), &json!(0)));
    let stored = fixtures.count("SELECT COUNT(*) FROM granted_codes").await;
    assert_eq!(stored.unsigned_abs(), count as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_a_key_is_written_once() {
    let mut run = Run::begin("A3 replies to COMMIT are lost, claims without a key");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &fixtures).await;
    let users = fixtures.crowd(size(250, 1000)).await;
    let reward = limited(&fixtures, 10 * users.len()).await;
    // There are enough slots that a repeated claim would get one.
    let event = daily(&fixtures, &[&reward], 20).await;
    let clients = Clients::new(&fleet);
    proxy.set(Toxics {
        lost_commits: 0.3,
        ..Toxics::default()
    });
    let asks: Vec<_> = users.iter().map(|user| Ask::new(user, &event)).collect();
    let mut view = View::default();
    let mut unknown = Vec::new();
    for crowd in asks.chunks(WIDTH) {
        let addresses: Vec<_> = crowd.iter().map(|_| fleet.any(&mut rng)).collect();
        let tries = crowd
            .iter()
            .zip(&addresses)
            .map(|(ask, address)| clients.ask(address, ask));
        for (ask, answer) in crowd.iter().zip(futures_util::future::join_all(tries).await) {
            match answer {
                Ok(answer) => view.answers.push(answer),
                Err(_) => unknown.push(ask.user),
            }
        }
    }
    run.count("commits cut off", proxy.cuts());
    run.count("unknown", unknown.len());
    run.saw(&view);
    assert!(proxy.cuts() >= 5, "only {} commits were cut off", proxy.cuts());
    proxy.set(Toxics::default());
    let mut written: BTreeMap<_, usize> = BTreeMap::new();
    let rows: Vec<(uuid::Uuid,)> = fixtures
        .app
        .db
        .query("SELECT user_id FROM reward_requests")
        .fetch_all(&fixtures.app.db)
        .await
        .expect("requests");
    for (user,) in rows {
        *written.entry(user).or_default() += 1;
    }
    for answer in &view.answers {
        assert!(answer.is_granted(), "sent once and refused: {answer:#?}");
        assert_eq!(written.get(&answer.ask.user), Some(&1), "sent once: {answer:#?}");
    }
    for user in &unknown {
        assert!(
            written.get(user).is_none_or(|written| *written == 1),
            "sent once: {user}"
        );
    }
    invariants::check(&fixtures, &view, &[]).await;
}

/// The lookup of a commit happens while the server is still executing it: first it is missing, then it exists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_finishes_after_its_lookup_is_not_repeated() {
    let mut run = Run::begin("A3 a COMMIT ends after its lookup");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &fixtures).await;
    let reward = limited(&fixtures, 100).await;
    let event = daily(&fixtures, &[&reward], 20).await;
    let users = fixtures.crowd(4).await;
    let clients = Clients::new(&fleet);
    // Warms up caches and prepared statements.
    let mut view = View::of(clients.all(&mut rng, &vec![Ask::new(&users[0], &event); 8], 1).await);
    for user in &users[1..] {
        let mut tx = fixtures.begin().await;
        let held: Vec<(uuid::Uuid,)> = tx
            .query("SELECT id FROM events FOR UPDATE")
            .fetch_all(&mut tx)
            .await
            .expect("the event");
        assert_eq!(held.len(), 1);
        proxy.set(Toxics {
            leave_commits: true,
            ..Toxics::default()
        });
        let before = proxy.cuts();
        let ask = Ask::new(user, &event);
        let address = fleet.any(&mut rng);
        let let_go = async {
            while proxy.cuts() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.set(Toxics::default());
            // Meanwhile the process looks up the claim and writes it again; that write waits like the first.
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(tx);
        };
        let (answer, ()) = tokio::join!(clients.ask(&address, &ask), let_go);
        view.answers.push(answer.expect("an answer"));
    }
    for answer in &view.answers {
        assert!(answer.is_granted(), "sent once and refused: {answer:#?}");
    }
    assert_eq!(
        fixtures.count("SELECT COUNT(*) FROM reward_requests").await,
        8 + 3,
        "each claim was sent once"
    );
    run.count("commits cut off", proxy.cuts());
    run.saw(&view);
    invariants::check(&fixtures, &view, &[]).await;
}

/// Retries a reversal until the response is final; returns the status and the number of failed attempts.
async fn insist_on_reversal(process: &TestApp, operator: &str, request: &Value) -> (u16, usize) {
    let path = format!("/reward-requests/{}/reversal", id_of(request));
    for unknown in 0..50 {
        let call = process
            .post(&path)
            .bearer(operator)
            .json(&json!({"reason": "Returned"}));
        let reply = call.send().await;
        match reply.status.as_u16() {
            status @ (201 | 409) => return (status, unknown),
            _ => reply.expect_problem(503, "unavailable"),
        };
    }
    panic!("no definite answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_is_made_once_and_its_user_can_claim_again_immediately() {
    let mut run = Run::begin("A3 replies to the COMMIT of a reversal are lost");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let proxy = Proxy::start(rng.fork(), server_of(&fixtures.database_url())).await;
    let db = Db::connect(&proxy.before(&fixtures.database_url()), 8)
        .await
        .expect("the database");
    let process = fixtures.on(db);
    let users = fixtures.crowd(size(25, 200)).await;
    let reward = limited(&fixtures, users.len()).await;
    let event = event(&fixtures, &[&reward], json!({})).await;
    let operator = process.operator().await;
    let mut unknown = 0;
    for (number, user) in users.iter().enumerate() {
        let token = process.log_in(user).await;
        let request = process.claim(&token, &event).send().await.expect(201);
        let repeat = process.claim(&token, &event).send().await;
        repeat.expect_problem(409, "already-granted");
        let before = proxy.cuts();
        // The first reversal is committed and its response lost. The outcome of the others is open.
        proxy.set(Toxics {
            leave_commits: number == 0,
            lost_commits: 0.7,
            ..Toxics::default()
        });
        let (status, broken) = insist_on_reversal(&process, &operator, &request).await;
        proxy.set(Toxics::default());
        unknown += broken;
        // Only a retried reversal may find that it was made already.
        assert!(status == 201 || broken > 0, "{status} after {broken} without an answer");
        if number == 0 {
            assert_eq!((status, broken, proxy.cuts()), (201, 0, before + 1));
        }
        let again = process.claim(&token, &event).send().await.expect(201);
        assert_eq!(again["status"], "GRANTED", "{again:#}");
    }
    run.count("reversals", users.len());
    run.count("commits cut off", proxy.cuts());
    run.count("unknown", unknown);
    assert!(
        proxy.cuts() > users.len() / 2,
        "only {} commits were cut off",
        proxy.cuts()
    );
    let count = i64::try_from(users.len()).expect("a number");
    assert_eq!(fixtures.count("SELECT COUNT(*) FROM reversals").await, count);
    assert_eq!(
        fixtures
            .count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.reversed'")
            .await,
        count
    );
    assert_eq!(fixtures.count("SELECT remaining FROM reward_stock").await, 0);
    invariants::check(&fixtures, &View::default(), &[&reward]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_grants_once() {
    let mut run = Run::begin("A3 replies to the COMMIT of an approval are lost");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let proxy = Proxy::start(rng.fork(), server_of(&fixtures.database_url())).await;
    let db = Db::connect(&proxy.before(&fixtures.database_url()), 8)
        .await
        .expect("the database");
    let process = fixtures.on(db);
    let users = fixtures.crowd(size(25, 200)).await;
    let reward = limited(&fixtures, users.len()).await;
    let plugin = fixtures.install(reviewing("reviewed").module()).await;
    let changes = json!({
        "rewardIds": [reward["id"]], "startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z",
    });
    let event = fixtures.event_on(&plugin, json!({}), changes).await;
    let operator = process.operator().await;
    let mut unknown = 0;
    for user in &users {
        let token = process.log_in(user).await;
        let request = process.claim(&token, &event).send().await.expect(201);
        assert_eq!(request["status"], "HELD", "{request:#}");
        proxy.set(Toxics {
            lost_commits: 0.7,
            ..Toxics::default()
        });
        let path = format!("/reward-requests/{}/approval", id_of(&request));
        let mut approved = false;
        for _ in 0..50 {
            let call = process.post(&path).bearer(&operator).json(&json!({"reason": "Fine"}));
            let reply = call.send().await;
            if reply.status == 200 {
                approved = reply.json["status"] == "GRANTED";
                break;
            }
            reply.expect_problem(503, "unavailable");
            unknown += 1;
        }
        proxy.set(Toxics::default());
        assert!(approved, "no definite answer");
    }
    run.count("approvals", users.len());
    run.count("commits cut off", proxy.cuts());
    run.count("unknown", unknown);
    assert!(
        proxy.cuts() > users.len() / 2,
        "only {} commits were cut off",
        proxy.cuts()
    );
    let count = i64::try_from(users.len()).expect("a number");
    for sql in [
        "SELECT COUNT(*) FROM grants",
        "SELECT COUNT(*) FROM reward_requests WHERE status = 'GRANTED'",
        "SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'",
    ] {
        assert_eq!(fixtures.count(sql).await, count, "{sql}");
    }
    assert_eq!(fixtures.count("SELECT remaining FROM reward_stock").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_fragmented_connection_that_breaks_only_costs_time() {
    let mut run = Run::begin("A3 a slow, fragmented connection that breaks");
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &fixtures).await;
    let users = fixtures.crowd(size(60, 300)).await;
    let scarce = limited(&fixtures, users.len() / 2).await;
    let event = event(&fixtures, &[&scarce], json!({})).await;
    proxy.set(Toxics {
        lost_commits: 0.1,
        resets: 0.002,
        latency: Duration::from_millis(2),
        sliced: true,
        ..Toxics::default()
    });
    let asks: Vec<_> = users
        .iter()
        .map(|user| Ask::new(user, &event).under(rng.u64(..)))
        .collect();
    let clients = Clients::new(&fleet);
    let view = View::of(clients.all(&mut rng, &asks, WIDTH).await);
    run.count("commits cut off", proxy.cuts());
    run.count("broken off", clients.broken());
    run.saw(&view);
    let refused: Vec<_> = view.answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    proxy.set(Toxics::default());
    invariants::check(&fixtures, &view, &[&scarce]).await;
}
