//! Concurrent budgets and reversals: the whole budget of an event is granted and never more, while operators
//! reverse grants concurrently, and reversed grants are granted once more.

use std::time::Duration;

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Ask, Clients, View};
use super::fixtures::{event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::race::{mixed, twice};
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, TestUser, on_both_engines, with};

const WIDTH: usize = 32;

/// How long a process trusts its copies without invalidations.
const OLD_NEWS: Duration = Duration::from_millis(2_100);

/// The events of one round, each with a different limit.
struct Bounded {
    events: Vec<Value>,
    stock: Value,
}

impl Bounded {
    /// Each event allows about `most` grants.
    async fn events(rng: &mut fastrand::Rng, fixtures: &TestApp, most: usize) -> Self {
        let worth = rng.i64(2..9);
        let (points, stock) = (points(fixtures, worth).await, limited(fixtures, most).await);
        // The amount is one unit short of one more grant.
        let amount = worth * i64::try_from(most).expect("a small number") + rng.i64(0..worth);
        let budget = |grants: Option<usize>, amount: Option<i64>| json!({"budget": {"period": "ONCE", "grants": grants, "amount": amount}});
        let twice_a_day = json!({"recurrence": {"period": "DAILY", "count": 2}});
        let events = vec![
            event(fixtures, &[&points], budget(Some(most), None)).await,
            event(fixtures, &[&points], budget(None, Some(amount))).await,
            event(
                fixtures,
                &[&points],
                with(budget(Some(most + 3), Some(amount)), twice_a_day),
            )
            .await,
            // The stock limits this event.
            event(fixtures, &[&points, &stock], budget(Some(most + 2), Some(2 * amount))).await,
        ];
        Self { events, stock }
    }

    fn asks(&self, rng: &mut fastrand::Rng, users: &[TestUser]) -> Vec<Ask> {
        let asks: Vec<Vec<Ask>> = self.events.iter().map(|event| twice(rng, users, event)).collect();
        // Interleaved, so that every batch has claims of several events.
        let side_by_side = (0..asks[0].len()).flat_map(|place| asks.iter().map(move |asks| asks[place].clone()));
        mixed(rng, side_by_side.collect())
    }

    fn exhausted(&self) -> Vec<&Value> {
        let bounded_by_budget = self.events.iter().take(3);
        bounded_by_budget.chain([&self.stock]).collect()
    }
}

#[apply(on_both_engines)]
async fn reversed_grants_are_granted_once_more_and_never_beyond_the_budget(app: TestApp) {
    let mut run = Run::begin("A1 concurrent budgets, stock and reversals");
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(40).await;
    let operator = fixtures.operator().await;
    let clients = Clients::new(&fleet);
    let mut rounds = Vec::new();
    let mut view = View::default();
    for _ in 0..size(4, 50) {
        let mut rng = run.round();
        let most = rng.usize(5..15);
        let bounded = Bounded::events(&mut rng, &fixtures, most).await;
        let asks = bounded.asks(&mut rng, &users);
        let mix = Mix {
            clients: &clients,
            operator: &operator,
            reversed: rng.u8(10..40),
            width: WIDTH,
        };
        let seen = mix.all(&mut rng, &asks).await;
        assert!(seen.reversed() > 0, "nothing was reversed");
        run.saw(&seen);
        view.add(seen);
        invariants::check(&fixtures, &view, &[]).await;
        rounds.push((rng, bounded));
    }
    clients.are_all_answered();
    // All users claim once more after all processes have noticed the reversals: everything is granted again.
    tokio::time::sleep(OLD_NEWS).await;
    for (mut rng, bounded) in rounds {
        let asks = bounded.asks(&mut rng, &users);
        let seen = View::of(clients.all(&mut rng, &asks, WIDTH).await);
        run.saw(&seen);
        view.add(seen);
        invariants::check(&fixtures, &view, &bounded.exhausted()).await;
    }
    clients.are_all_answered();
}
