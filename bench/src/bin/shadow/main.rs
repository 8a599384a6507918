//! Measures what a trial adds to a claim: the processor time of the server and its database per claim on one event without a
//! candidate, with a shadow, and with a canary for all users.
//!
//! `cargo xtask bench shadow` starts a server on PostgreSQL (with `fsync`) and sends claims from this process. Each round
//! measures all of them, so that a ratio is of figures of one run (`ROUNDS=n`, `SECONDS=n`). The candidate asks for something
//! that the event's condition does not, and grants the same.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
mod cpu;
#[path = "../claim/fixtures.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fixtures;
#[path = "../claim/fleet.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fleet;
#[path = "../claim/load.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod load;
#[path = "../claim/pgbench.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod pgbench;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use meed_host::app::App;
use meed_host::events::{Candidate, Mode};
use meed_host::sandbox::COMPILE_WORKER;
use serde_json::json;
use uuid::Uuid;

use fixtures::Fixtures;
use fleet::Fleet;
use load::{Claim, Load, Measured, Turn};

const CONNECTIONS: usize = 64;
const USERS: usize = 4000;
/// Longer than the server trusts what it remembers of an event.
const SETTLING: Duration = Duration::from_millis(2500);

fn main() -> anyhow::Result<ExitCode> {
    // This program also runs as the server that it measures.
    if let Some("serve" | "migrate" | COMPILE_WORKER) = std::env::args().nth(1).as_deref() {
        return Ok(meed::main());
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure())?;
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A name, and what a turn claims.
type Scenario<'a> = (&'a str, &'a dyn Fn(Turn) -> Option<Claim>);

/// What claims of the measured events are tried with.
#[derive(Clone, Copy)]
enum Trial {
    None,
    Shadow,
    Canary,
}

const TRIALS: [(&str, Trial); 3] = [
    ("no candidate", Trial::None),
    ("shadow", Trial::Shadow),
    ("canary of all users", Trial::Canary),
];

async fn measure() -> anyhow::Result<()> {
    let rounds = number("ROUNDS", 3);
    let load = Load {
        connections: CONNECTIONS,
        seconds: Duration::from_secs(number("SECONDS", 4)),
        per_second: None,
    };
    let database = pgbench::create_database("meed_shadow")?;
    let fleet = Fleet::start(&database, 1)?;
    let fixtures = Box::pin(Fixtures::build(&fleet, USERS, 1)).await?;
    let app = fleet.app().await?;
    let scenarios: [Scenario<'_>; 2] = [
        ("granted", &|turn| fixtures.on_hot_event(turn)),
        ("rejected, repeated", &|turn| fixtures.rejected(turn)),
    ];
    println!(
        "{CONNECTIONS} connections, {rounds} rounds of {} s each\n{:22} {:24} {:>9} {:>9} {:>9} {:>9} {:>9}",
        load.seconds.as_secs(),
        "",
        "",
        "per s",
        "p99 ms",
        "server us",
        "db us",
        "ratio"
    );
    for (scenario, claim) in scenarios {
        let event = claim(Turn {
            connection: 0,
            connections: CONNECTIONS,
            number: 0,
        });
        let event: Uuid = event.context("an event")?.event_id.parse()?;
        let mut all: Vec<Vec<Measured>> = TRIALS.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for ((_, trial), measured) in TRIALS.iter().zip(&mut all) {
                set(&app, event, *trial).await?;
                tokio::time::sleep(SETTLING).await;
                measured.push(load.run(&fleet.first(), claim).await?);
            }
        }
        set(&app, event, Trial::None).await?;
        report(scenario, &all);
    }
    Ok(())
}

/// The event's condition is `first-come` or `activity-count`; the candidate asks for the registration of the user.
async fn set(app: &App, event: Uuid, trial: Trial) -> anyhow::Result<()> {
    let release_id = Uuid::from_u128(1);
    let mut tx = app.db.begin().await?;
    let mode = match trial {
        Trial::None => {
            app.events
                .clear_candidate(&mut tx, event, release_id, release_id)
                .await?;
            return Ok(tx.commit().await?);
        }
        Trial::Shadow => Mode::Shadow,
        Trial::Canary => Mode::Canary { permille: 1000 },
    };
    let params = json!({"kind": "user.registered", "count": 1});
    let condition = app.plugins.bind("activity-count", "1.0.0", &params).await?;
    let candidate = Candidate {
        release_id,
        condition,
        mode,
    };
    app.events
        .set_candidate(&mut tx, event, None, candidate, release_id)
        .await?;
    Ok(tx.commit().await?)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn report(scenario: &str, all: &[Vec<Measured>]) {
    let cost = |round: &Measured| round.cpu.servers + round.cpu.database;
    for ((name, _), rounds) in TRIALS.iter().zip(all) {
        let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value).collect());
        // Of the same round.
        let ratio = median(
            rounds
                .iter()
                .zip(&all[0])
                .map(|(one, base)| cost(one) / cost(base))
                .collect(),
        );
        println!(
            "{scenario:22} {name:24} {:9.0} {:9.1} {:9.0} {:9.0} {ratio:9.2}",
            of(|round| round.per_second),
            of(|round| round.p99.as_secs_f64() * 1000.0),
            of(|round| round.cpu.servers),
            of(|round| round.cpu.database),
        );
    }
}
