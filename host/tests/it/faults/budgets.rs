//! Budgets and reversals in a race: what an event may give to all is given to the last and no further, while operators
//! take grants back with several hands, and what is taken back is given once more.

use std::time::Duration;

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Ask, Clients, View};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::race::{mixed, twice};
use super::run::Run;
use super::seed::size;
use super::stage::{event, limited, points};
use crate::support::{TestApp, TestUser, on_both_engines, with};

const WIDTH: usize = 32;

/// As long as a process that hears nobody may believe what it knows.
const OLD_NEWS: Duration = Duration::from_millis(2_100);

/// Events of one round, each bounded in another way.
struct Bounded {
    events: Vec<Value>,
    stock: Value,
}

impl Bounded {
    /// About `most` grants can be had of each.
    async fn events(rng: &mut fastrand::Rng, stage: &TestApp, most: usize) -> Self {
        let worth = rng.i64(2..9);
        let (points, stock) = (points(stage, worth).await, limited(stage, most).await);
        // One more grant would fit but for a single unit.
        let amount = worth * i64::try_from(most).expect("a small number") + rng.i64(0..worth);
        let budget = |grants: Option<usize>, amount: Option<i64>| json!({"budget": {"period": "ONCE", "grants": grants, "amount": amount}});
        let twice_a_day = json!({"recurrence": {"period": "DAILY", "count": 2}});
        let events = vec![
            event(stage, &[&points], budget(Some(most), None)).await,
            event(stage, &[&points], budget(None, Some(amount))).await,
            event(
                stage,
                &[&points],
                with(budget(Some(most + 3), Some(amount)), twice_a_day),
            )
            .await,
            // Here it is the stock that ends it.
            event(stage, &[&points, &stock], budget(Some(most + 2), Some(2 * amount))).await,
        ];
        Self { events, stock }
    }

    fn asks(&self, rng: &mut fastrand::Rng, users: &[TestUser]) -> Vec<Ask> {
        let asks: Vec<Vec<Ask>> = self.events.iter().map(|event| twice(rng, users, event)).collect();
        // Side by side, so that every set has claims of several events.
        let side_by_side = (0..asks[0].len()).flat_map(|place| asks.iter().map(move |asks| asks[place].clone()));
        mixed(rng, side_by_side.collect())
    }

    fn exhausted(&self) -> Vec<&Value> {
        let bounded_by_budget = self.events.iter().take(3);
        bounded_by_budget.chain([&self.stock]).collect()
    }
}

#[apply(on_both_engines)]
async fn what_is_taken_back_is_given_once_more_and_nothing_beyond_the_budget(app: TestApp) {
    let mut run = Run::begin("A1 race for budgets and stock while grants are taken back");
    let stage = app.in_real_time();
    let fleet = Fleet::start(&stage, 2).await;
    let users = stage.crowd(40).await;
    let operator = stage.operator().await;
    let clients = Clients::new(&fleet);
    let mut rounds = Vec::new();
    let mut view = View::default();
    for _ in 0..size(4, 50) {
        let mut rng = run.round();
        let most = rng.usize(5..15);
        let bounded = Bounded::events(&mut rng, &stage, most).await;
        let asks = bounded.asks(&mut rng, &users);
        let mix = Mix {
            clients: &clients,
            operator: &operator,
            taken_back: rng.u8(10..40),
            width: WIDTH,
        };
        let seen = mix.all(&mut rng, &asks).await;
        assert!(seen.taken_back() > 0, "nothing was taken back");
        run.saw(&seen);
        view.add(seen);
        invariants::check(&stage, &view, &[]).await;
        rounds.push((rng, bounded));
    }
    clients.are_all_answered();
    // Everybody once more, when all processes know what was taken back: all of it is given again.
    tokio::time::sleep(OLD_NEWS).await;
    for (mut rng, bounded) in rounds {
        let asks = bounded.asks(&mut rng, &users);
        let seen = View::of(clients.all(&mut rng, &asks, WIDTH).await);
        run.saw(&seen);
        view.add(seen);
        invariants::check(&stage, &view, &bounded.exhausted()).await;
    }
    clients.are_all_answered();
}
