//! Processes are killed at random with SIGKILL while they record activities of users with many, and build their facts.

use std::sync::atomic::{AtomicBool, Ordering};

use meed_host::contract::{Query, Selection, Subject, Window};
use meed_host::facts::{NeededBy, Plan, Which, Zone, need};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::fleet::{Fleet, client};
use super::kill::keep_killing;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, on_both_engines};

const DAY: u64 = 86_400_000;

#[apply(on_both_engines)]
async fn maintained_facts_are_those_of_the_log_after_kills(app: TestApp) {
    let mut run = Run::begin("A9 kill -9 of processes that record activities and build facts");
    let mut rng = run.round();
    let fixtures = app.in_real_time();
    let begin = "2025-01-01T00:00:00Z".parse().expect("an instant");
    let users = [
        fixtures.insert_user(begin, None).await,
        fixtures.insert_user(begin, None).await,
    ];
    let selection = Selection {
        kind: "shop.purchase".to_owned(),
        subject: Subject::Claimant,
        window: Window::AllTime,
        filters: Vec::new(),
    };
    let plan = Plan::try_from(vec![Query::Sum(selection.clone()), Query::Streak(selection)]).expect("a plan");
    let zone: Zone = "Asia/Seoul".parse().expect("a zone");
    let mut tx = fixtures.begin().await;
    let until = "2035-01-01T00:00:00Z".parse().expect("an instant");
    let by = NeededBy {
        event_id: fixtures.clock.new_id(),
        event_starts: begin,
        until,
        zone: &zone,
        now: fixtures.clock.now(),
    };
    need(&mut tx, &by, &plan).await.expect("series");
    tx.commit().await.expect("a commit");

    let fleet = Fleet::start(&fixtures, 2).await;
    let operator = fixtures.operator().await;
    let (http, stop) = (client(), AtomicBool::new(false));
    let mut killer = rng.fork();
    let kill = async {
        let kills = keep_killing(&mut killer, &fleet, size(10, 100)).await;
        stop.store(true, Ordering::Relaxed);
        kills
    };
    let mut writers = [rng.fork(), rng.fork()];
    let [one, other] = &mut writers;
    let record =
        async |rng: &mut fastrand::Rng, writer: usize| {
            let mut recorded = 0;
            while !stop.load(Ordering::Relaxed) {
                // Mostly in order, so that the builder follows; some late.
                let batch: Vec<Value> = (0..200)
                .map(|_| {
                    recorded += 1;
                    let day = if rng.u8(..10) == 0 { rng.u64(..300) } else { recorded / 100 };
                    let at = 1_735_689_600_000 + day * DAY + rng.u64(..DAY);
                    let at = meed_host::clock::Timestamp::from_millis(i64::try_from(at).expect("a time"));
                    json!({
                        "source": format!("shop-{writer}"), "id": recorded.to_string(), "userId": users[rng.usize(..2)],
                        "kind": "shop.purchase", "amount": rng.u32(..1000), "occurredAt": at.expect("an instant"),
                    })
                })
                .collect();
                // A client repeats a batch until it has an answer.
                loop {
                    let call = http.post(format!("{}/activities", fleet.any(rng)));
                    let answer = call.bearer_auth(&operator).json(&batch).send().await;
                    if answer.is_ok_and(|answer| answer.status().is_success()) {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
            recorded
        };
    let (one, other, kills) = tokio::join!(record(one, 1), record(other, 2), kill);
    let facts = &fixtures.app.facts;
    facts.finish().await.expect("built");
    let checked = facts.verify(Which::default()).await.expect("a comparison");
    assert!(checked.differences.is_empty(), "{:#?}", checked.differences);
    let count = fixtures
        .app
        .db
        .query("SELECT COUNT(*) FROM activities WHERE kind = 'shop.purchase'");
    let (count,): (i64,) = count.fetch_one(&fixtures.app.db).await.expect("a count");
    assert_eq!(count.unsigned_abs(), one + other);
    assert!(count > 1000, "{count} activities");
    assert_eq!(checked.heads, 4);
    run.count("kills", kills);
    run.count("activities", usize::try_from(count).expect("a count"));
}
