//! Every kind of Redis fault while two processes compete for a stock and budgets: no grant is repeated, exceeds a limit
//! or is lost, and keys keep their responses. A proxy in front of Redis can add delays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Answer, Ask, Clients, View};
use super::fixtures::{event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::seed::size;
use crate::support::{RedisServer, TestApp, TestUser, on_both_engines};

const WIDTH: usize = 24;
const USERS: usize = 60;
/// The size of the stock and of the budget.
const GRANTS: usize = 25;
/// The number of responses before the fault, after each injection, and after its end.
const ANSWERS: usize = 120;

/// How long a process trusts its copies without Redis.
const OLD_NEWS: Duration = Duration::from_millis(2_100);

/// The maximum time until processes notice that Redis failed or recovered.
const PATIENCE: Duration = Duration::from_secs(20);

/// The log messages of a process.
const LOST: &str = "Lost the connection to Redis";
const REACHED: &str = "Connected to Redis";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Killed,
    Stopped,
    Slow,
    Flushed,
    RestartedEmpty,
    Wrong,
}

const FAULTS: [Fault; 6] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::Flushed,
    Fault::RestartedEmpty,
    Fault::Wrong,
];

impl Fault {
    /// The fault lasts until it is repaired; other faults are injected repeatedly.
    fn lasts(self) -> bool {
        matches!(self, Self::Killed | Self::Stopped | Self::Slow)
    }
}

/// The number of lost connections of each process.
fn losses(fleet: &Fleet) -> Vec<usize> {
    (0..fleet.size()).map(|number| fleet.logged(number, LOST)).collect()
}

/// Waits until every process uses Redis, or has noticed that it cannot.
async fn all_use_it(fleet: &Fleet, expected: bool) {
    let started = Instant::now();
    let uses = |number| fleet.logged(number, REACHED) > fleet.logged(number, LOST);
    while !(0..fleet.size()).all(|number| uses(number) == expected) {
        assert!(
            started.elapsed() < PATIENCE,
            "not every process has noticed: {expected}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Victim {
    redis: RedisServer,
    way: Proxy,
}

impl Victim {
    async fn start(rng: fastrand::Rng) -> Self {
        let redis = RedisServer::start().await;
        let way = Proxy::start_plain(rng, &redis.address()).await;
        Self { redis, way }
    }

    /// Injects a fault, and returns when every process that can notice it has noticed it.
    async fn strike(&mut self, rng: &mut fastrand::Rng, fault: Fault, fleet: &Fleet) {
        match fault {
            Fault::Killed => self.redis.kill(),
            Fault::Stopped => self.redis.pause(),
            Fault::Slow => self.way.set(Toxics {
                latency: Duration::from_millis(500),
                ..Toxics::default()
            }),
            Fault::Flushed => self.redis.ask("FLUSHALL", &[]).await,
            Fault::RestartedEmpty => {
                let before = losses(fleet);
                self.redis.restart().await;
                let started = Instant::now();
                while !losses(fleet).iter().zip(&before).all(|(now, before)| now > before) {
                    assert!(
                        started.elapsed() < PATIENCE,
                        "not every process has noticed the restart"
                    );
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Fault::Wrong => self.confuse(rng).await,
        }
        all_use_it(fleet, !fault.lasts()).await;
    }

    /// Replaces every cached grant by that of another user or by random bytes, and every other value by random bytes.
    async fn confuse(&self, rng: &mut fastrand::Rng) {
        let hints = self.redis.names("meed:granted:").await;
        let mut values: Vec<Option<Vec<u8>>> = Vec::new();
        for name in &hints {
            values.push(self.redis.ask("GET", &[name.as_bytes()]).await);
        }
        values.rotate_left(1.min(hints.len()));
        for (name, value) in hints.iter().zip(values) {
            let value = value.filter(|_| rng.bool()).unwrap_or_else(|| b"wrong".to_vec());
            () = self.redis.ask("SET", &[name.as_bytes(), &value]).await;
        }
        for name in self.redis.names("meed:").await {
            if !name.starts_with("meed:granted:") {
                let anything = rng.u64(..).to_string();
                () = self.redis.ask("SET", &[name.as_bytes(), anything.as_bytes()]).await;
            }
        }
    }

    /// Repairs the fault, and returns when every process uses Redis again.
    async fn mend(&mut self, fault: Fault, fleet: &Fleet) {
        match fault {
            Fault::Killed => self.redis.restart().await,
            Fault::Stopped => self.redis.resume(),
            Fault::Slow => self.way.set(Toxics::default()),
            Fault::Flushed | Fault::RestartedEmpty | Fault::Wrong => {}
        }
        all_use_it(fleet, true).await;
    }
}

struct Race<'a> {
    fixtures: &'a TestApp,
    fleet: &'a Fleet,
    users: &'a [TestUser],
    operator: &'a str,
}

impl Race<'_> {
    /// Users claim repeatedly, and grants are reversed, during the fault and after it.
    async fn run(&self, run: &mut Run, victim: &mut Victim, fault: Fault, view: &mut View) {
        let mut rng = run.round();
        let (item, five) = (limited(self.fixtures, GRANTS).await, points(self.fixtures, 5).await);
        let budget = json!({"period": "ONCE", "grants": GRANTS, "amount": 5 * GRANTS + 4});
        let stocked = event(self.fixtures, &[&item], json!({})).await;
        let budgeted = event(self.fixtures, &[&five], json!({"budget": budget})).await;
        let any_claim = |rng: &mut fastrand::Rng| {
            let event = if rng.bool() { &stocked } else { &budgeted };
            let ask = Ask::new(rng.choice(self.users).expect("users"), event);
            if rng.bool() { ask } else { ask.under(rng.u64(..)) }
        };
        let clients = Clients::new(self.fleet);
        let mix = Mix {
            clients: &clients,
            operator: self.operator,
            reversed: 10,
            width: WIDTH,
        };
        let stop = AtomicBool::new(false);
        let mut fault_rng = rng.fork();
        let happen = async {
            clients.answered(ANSWERS).await;
            all_use_it(self.fleet, true).await;
            let hints = victim.redis.names("meed:granted:").await;
            assert!(!hints.is_empty(), "{fault:?} would hit a Redis that holds nothing");
            let began = Instant::now();
            for _ in 0..if fault.lasts() { 1 } else { 2 } {
                victim.strike(&mut fault_rng, fault, self.fleet).await;
                clients.answered(clients.count() + ANSWERS).await;
            }
            if fault.lasts() {
                tokio::time::sleep(size(Duration::from_millis(500), Duration::from_secs(30))).await;
            }
            let ended = Instant::now();
            victim.mend(fault, self.fleet).await;
            clients.answered(clients.count() + ANSWERS).await;
            stop.store(true, Ordering::Relaxed);
            (began, ended)
        };
        let (seen, (began, ended)) = tokio::join!(mix.until(&mut rng, &stop, any_claim), happen);
        clients.are_all_answered();
        let repeated = keys_repeated(&seen.answers, began, ended);
        assert!(repeated > 0, "{fault:?}: no key was repeated meanwhile");
        tell(fault, self.fixtures, &seen.answers, (began, ended));
        run.count("faults", 1);
        run.count("keys repeated meanwhile", repeated);
        run.saw(&seen);
        view.add(seen);

        // All users claim once more after all copies have expired: stock and budget are used up.
        tokio::time::sleep(OLD_NEWS).await;
        let each = |event: &Value| self.users.iter().map(|user| Ask::new(user, event)).collect::<Vec<_>>();
        let asks = [each(&stocked), each(&budgeted)].concat();
        view.answers.extend(clients.all(&mut rng, &asks, WIDTH).await);
        clients.are_all_answered();
        invariants::check(self.fixtures, view, &[&item, &budgeted]).await;
    }
}

/// The number of keys used before the fault and again during it.
fn keys_repeated(answers: &[Answer], began: Instant, ended: Instant) -> usize {
    let mut asked: BTreeMap<_, (bool, bool)> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.ask.key.is_some()) {
        let (before, meanwhile) = asked.entry((answer.ask.user, &answer.ask.key)).or_default();
        *before |= answer.answered_at < began;
        *meanwhile |= began < answer.sent_at && answer.answered_at < ended;
    }
    asked
        .values()
        .filter(|(before, meanwhile)| *before && *meanwhile)
        .count()
}

/// Prints the effect on latency in this build on one machine. `cargo xtask bench redis` measures it properly.
fn tell(fault: Fault, fixtures: &TestApp, answers: &[Answer], (began, ended): (Instant, Instant)) {
    let line = |when: &str, is_then: &dyn Fn(&Answer) -> bool| {
        let times = answers.iter().filter(|answer| is_then(answer));
        let mut times: Vec<_> = times
            .map(|answer| (answer.answered_at - answer.sent_at).as_millis())
            .collect();
        times.sort_unstable();
        let at = |percent: usize| {
            times
                .get(times.len().saturating_sub(1) * percent / 100)
                .copied()
                .unwrap_or(0)
        };
        format!("{when} {} claims p50 {} p99 {} ms", times.len(), at(50), at(99))
    };
    println!(
        "latency | {fault:?} | {:?} | {} | {} | {}",
        fixtures.app.db.engine(),
        line("before", &|answer| answer.sent_at < began),
        line("meanwhile", &|answer| began <= answer.sent_at && answer.sent_at < ended),
        line("after", &|answer| ended <= answer.sent_at),
    );
}

#[apply(on_both_engines)]
async fn claims_are_correct_under_every_redis_fault(app: TestApp) {
    let mut run = Run::begin("A18 Redis killed, stopped, slow, flushed, restarted empty, forged");
    let fixtures = app.in_real_time();
    let mut victim = Victim::start(fastrand::Rng::new()).await;
    let settings = [
        ("MEED__CACHE__URL", format!("redis://{}", victim.way.address)),
        (
            "MEED__LOG__FILTER",
            "warn,sqlx_core::pool=error,meed_host::cache=info".to_owned(),
        ),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let fleet = Fleet::start_on(&fixtures, &fixtures.database_url(), 2, &settings).await;
    all_use_it(&fleet, true).await;
    let (users, operator) = (fixtures.crowd(USERS).await, fixtures.operator().await);
    let race = Race {
        fixtures: &fixtures,
        fleet: &fleet,
        users: &users,
        operator: &operator,
    };
    let mut view = View::default();
    for _ in 0..size(1, 5) {
        for fault in FAULTS {
            race.run(&mut run, &mut victim, fault, &mut view).await;
        }
    }
}
