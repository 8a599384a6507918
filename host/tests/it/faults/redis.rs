//! Redis fails in every way that it can while two processes race for a stock and budgets: never twice, never beyond, never
//! lost, and keys keep their answers. It is reached by way of a proxy, which can make it slow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Answer, Ask, Clients, View};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::seed::size;
use super::stage::{event, limited, points};
use crate::support::{RedisServer, TestApp, TestUser, on_both_engines};

const WIDTH: usize = 24;
const USERS: usize = 60;
/// Of the stock, and of the budget.
const GRANTS: usize = 25;
/// Answers before the fault, after each blow of it, and when it is over.
const ANSWERS: usize = 120;

/// Without Redis a process may believe what it knows for so long.
const OLD_NEWS: Duration = Duration::from_millis(2_100);

/// How long the processes may take to find Redis again, or that it is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process logs.
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
    /// It lasts until it is mended; the others strike, and strike again.
    fn lasts(self) -> bool {
        matches!(self, Self::Killed | Self::Stopped | Self::Slow)
    }
}

/// How often each process lost Redis so far.
fn losses(fleet: &Fleet) -> Vec<usize> {
    (0..fleet.size()).map(|number| fleet.logged(number, LOST)).collect()
}

/// Waits until every process uses Redis, or knows that it cannot: it tells when that changes.
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

    /// Returns when every process that can notice it has.
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

    /// Every hint is that of another user or nothing of ours, every other value anything at all.
    async fn confuse(&self, rng: &mut fastrand::Rng) {
        let hints = self.redis.names("meed:hint:").await;
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
            if !name.starts_with("meed:hint:") {
                let anything = rng.u64(..).to_string();
                () = self.redis.ask("SET", &[name.as_bytes(), anything.as_bytes()]).await;
            }
        }
    }

    /// Returns when every process uses it again.
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
    stage: &'a TestApp,
    fleet: &'a Fleet,
    users: &'a [TestUser],
    operator: &'a str,
}

impl Race<'_> {
    /// Everybody claims, again and again, and grants are taken back, while Redis fails and after it.
    async fn run(&self, run: &mut Run, victim: &mut Victim, fault: Fault, view: &mut View) {
        let mut rng = run.round();
        let (item, five) = (limited(self.stage, GRANTS).await, points(self.stage, 5).await);
        let budget = json!({"period": "ONCE", "grants": GRANTS, "amount": 5 * GRANTS + 4});
        let stocked = event(self.stage, &[&item], json!({})).await;
        let budgeted = event(self.stage, &[&five], json!({"budget": budget})).await;
        let any_claim = |rng: &mut fastrand::Rng| {
            let event = if rng.bool() { &stocked } else { &budgeted };
            let ask = Ask::new(rng.choice(self.users).expect("users"), event);
            if rng.bool() { ask } else { ask.under(rng.u64(..)) }
        };
        let clients = Clients::new(self.fleet);
        let mix = Mix {
            clients: &clients,
            operator: self.operator,
            taken_back: 10,
            width: WIDTH,
        };
        let stop = AtomicBool::new(false);
        let mut fault_rng = rng.fork();
        let happen = async {
            clients.answered(ANSWERS).await;
            all_use_it(self.fleet, true).await;
            let hints = victim.redis.names("meed:hint:").await;
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
        tell(fault, self.stage, &seen.answers, (began, ended));
        run.count("faults", 1);
        run.count("keys repeated meanwhile", repeated);
        run.saw(&seen);
        view.add(seen);

        // Everybody once more, when nobody believes old news: stock and budget are used to the last.
        tokio::time::sleep(OLD_NEWS).await;
        let each = |event: &Value| self.users.iter().map(|user| Ask::new(user, event)).collect::<Vec<_>>();
        let asks = [each(&stocked), each(&budgeted)].concat();
        view.answers.extend(clients.all(&mut rng, &asks, WIDTH).await);
        clients.are_all_answered();
        invariants::check(self.stage, view, &[&item, &budgeted]).await;
    }
}

/// How many keys were asked for the first time before the fault, and again while it lasted.
fn keys_repeated(answers: &[Answer], began: Instant, ended: Instant) -> usize {
    let mut asked: BTreeMap<_, (bool, bool)> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.ask.key.is_some()) {
        let (before, meanwhile) = asked.entry((answer.ask.user, &answer.ask.key)).or_default();
        *before |= answer.told < began;
        *meanwhile |= began < answer.asked && answer.told < ended;
    }
    asked
        .values()
        .filter(|(before, meanwhile)| *before && *meanwhile)
        .count()
}

/// What the fault did to latency, in this build and with everything on one machine: `cargo xtask bench redis` measures it.
fn tell(fault: Fault, stage: &TestApp, answers: &[Answer], (began, ended): (Instant, Instant)) {
    let line = |when: &str, is_then: &dyn Fn(&Answer) -> bool| {
        let times = answers.iter().filter(|answer| is_then(answer));
        let mut times: Vec<_> = times.map(|answer| (answer.told - answer.asked).as_millis()).collect();
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
        stage.app.db.engine(),
        line("before", &|answer| answer.asked < began),
        line("meanwhile", &|answer| began <= answer.asked && answer.asked < ended),
        line("after", &|answer| ended <= answer.asked),
    );
}

#[apply(on_both_engines)]
async fn whatever_redis_does_claims_are_right(app: TestApp) {
    let mut run = Run::begin("A18 Redis killed, stopped, slow, flushed, restarted empty, wrong");
    let stage = app.in_real_time();
    let mut victim = Victim::start(fastrand::Rng::new()).await;
    let settings = [
        ("MEED__CACHE__URL", format!("redis://{}", victim.way.address)),
        (
            "MEED__LOG__FILTER",
            "warn,sqlx_core::pool=error,meed_host::cache=info".to_owned(),
        ),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let fleet = Fleet::start_on(&stage, &stage.database_url(), 2, &settings).await;
    all_use_it(&fleet, true).await;
    let (users, operator) = (stage.crowd(USERS).await, stage.operator().await);
    let race = Race {
        stage: &stage,
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
