//! Leases on both databases: one holder at a time, a fence that only grows, and release independent of the clock.

use std::time::Duration;

use meed_host::background::lease::{DURATION, Lease};
use meed_host::outbox::topics;
use rstest_reuse::apply;

use crate::support::{TestApp, on_both_engines};

const NAME: &str = "meed.messages";

/// Creates a topic, whose row stores the lease.
async fn add_topic(app: &TestApp) {
    let mut tx = app.app.db.begin().await.expect("a transaction");
    topics::add(&mut tx, NAME, app.clock.now()).await.expect("a topic");
    tx.commit().await.expect("a commit");
}

async fn acquire(app: &TestApp) -> Option<Lease> {
    Lease::acquire(&app.app.db, &app.clock, &topics::LEASES, NAME)
        .await
        .expect("the database answers")
}

async fn until_millis(app: &TestApp) -> i64 {
    app.count("SELECT lease_until FROM outbox_topics").await
}

#[apply(on_both_engines)]
async fn a_lease_has_one_holder_and_each_holder_raises_the_fence(app: TestApp) {
    assert!(acquire(&app).await.is_none(), "there is no such row");
    add_topic(&app).await;
    let first = acquire(&app).await.expect("the lease is free");
    assert!(acquire(&app).await.is_none());
    assert!(!first.is_lost());
    let fence = first.fence();
    first.release().await.expect("it is released");
    let second = acquire(&app).await.expect("it was released");
    assert_eq!(second.fence(), fence + 1);
}

#[apply(on_both_engines)]
async fn one_of_many_concurrent_requests_gets_the_lease(app: TestApp) {
    add_topic(&app).await;
    let asked = (0..16).map(|_| acquire(&app));
    let held: Vec<_> = futures_util::future::join_all(asked)
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(held.len(), 1);
}

#[apply(on_both_engines)]
async fn a_released_lease_is_free_even_if_the_clock_steps_back(app: TestApp) {
    add_topic(&app).await;
    acquire(&app)
        .await
        .expect("the lease is free")
        .release()
        .await
        .expect("it is released");
    assert_eq!(until_millis(&app).await, 0);
    app.clock.set(app.clock.now().minus(Duration::from_hours(24 * 365)));
    assert!(acquire(&app).await.is_some());
}

#[apply(on_both_engines)]
async fn the_lease_of_a_dead_holder_expires(app: TestApp) {
    add_topic(&app).await;
    let dead = acquire(&app).await.expect("the lease is free");
    let fence = dead.fence();
    drop(dead);
    app.clock
        .set(app.clock.now().plus(DURATION.saturating_sub(Duration::from_millis(1))));
    assert!(acquire(&app).await.is_none());
    app.clock.set(app.clock.now().plus(Duration::from_millis(1)));
    assert_eq!(acquire(&app).await.expect("it expired").fence(), fence + 1);
}

#[apply(on_both_engines)]
async fn the_lease_of_a_dead_holder_is_free_if_the_clock_stepped_back(app: TestApp) {
    add_topic(&app).await;
    let began = app.clock.now();
    drop(acquire(&app).await.expect("the lease is free"));
    // As far behind as a live holder's clock may be ahead: the lease counts.
    app.clock.set(began.minus(DURATION));
    assert!(acquire(&app).await.is_none());
    app.clock.set(began.minus(DURATION + Duration::from_millis(1)));
    assert!(acquire(&app).await.is_some());
}

#[apply(on_both_engines)]
async fn a_holder_renews_its_lease(app: TestApp) {
    add_topic(&app).await;
    let _lease = acquire(&app).await.expect("the lease is free");
    let now = app.clock.now().plus(DURATION / 2);
    app.clock.set(now);
    for _ in 0..100 {
        if until_millis(&app).await == now.plus(DURATION).as_millis() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not renewed");
}

#[apply(on_both_engines)]
async fn a_holder_that_lost_its_lease_stops_and_does_not_disturb_its_successor(app: TestApp) {
    add_topic(&app).await;
    let slow = acquire(&app).await.expect("the lease is free");
    // Between two renewals.
    let mut taken = None;
    while taken.is_none() {
        app.clock.set(app.clock.now().plus(DURATION));
        taken = acquire(&app).await;
    }
    let successor = taken.expect("it expired");
    tokio::time::timeout(Duration::from_secs(5), slow.lost())
        .await
        .expect("it notices at its next renewal");
    slow.release().await.expect("nothing to release");
    assert!(acquire(&app).await.is_none(), "the successor has it");
    assert!(!successor.is_lost());
}
