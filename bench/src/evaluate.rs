//! What a decision costs in a fresh sandbox, next to the same rule written in Rust and called directly.
//!
//! `cargo xtask bench evaluate`, or for another plugin
//! `cargo run --release --package bench --bin evaluate -- PLUGIN.wasm '{"days":7}'`
//!
//! Both are measured in turns in the same run, so that the ratio survives a busy machine; the minimum is what the code
//! costs, the median what the machine made of it. The rule in Rust is `login-streak`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use meed_host::contract::{
    Awards, Context, Decision, EventInfo, Fact, LocalTime, Progress, Query, Reason, RewardInfo, Streak, UserInfo,
};
use meed_host::sandbox::{COMPILE_WORKER, Sandbox, Settings, compile_worker};

const ROUNDS: usize = 200;
const CALLS_PER_ROUND: usize = 100;

/// What `cargo xtask bench` measures: it says in `MEED_TEST_PLUGINS` where it built the plugins.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, without the host's settings"
)]
fn bundled_login_streak() -> anyhow::Result<(String, String)> {
    let plugins = std::env::var("MEED_TEST_PLUGINS").context("run it with `cargo xtask bench`, or name a plugin")?;
    Ok((format!("{plugins}/login-streak.wasm"), r#"{"days":7}"#.to_owned()))
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (first, second) = (arguments.next(), arguments.next());
    if first.as_deref() == Some(COMPILE_WORKER) {
        return Ok(compile_worker(second.into_iter().chain(arguments)));
    }
    let (path, params) = match (first, second) {
        (Some(path), Some(params)) => (path, params),
        (None, None) => bundled_login_streak()?,
        _ => return Err(anyhow!("usage: evaluate [PLUGIN.wasm PARAMS]")),
    };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(bytes, &params))?;
    Ok(ExitCode::SUCCESS)
}

async fn compare(bytes: Vec<u8>, params: &str) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&Settings::default(), std::env::current_exe()?, None)?;
    let admitted = sandbox.admit(bytes).await?;
    let plugin = admitted.plugin;
    let binding = sandbox
        .bind(&plugin, params)
        .await
        .outcome?
        .map_err(|issues| anyhow!("{issues:?}"))?;
    let context = context()?;
    let facts: Vec<Fact> = binding.queries.iter().map(|query| fact(query, &context)).collect();

    let call = sandbox.evaluate(&plugin, &context, &binding.state, &facts).await;
    let decision = call.outcome?;
    let (mut sandboxed, mut native) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..CALLS_PER_ROUND {
            let started = Instant::now();
            let call = sandbox
                .evaluate(black_box(&plugin), &context, &binding.state, &facts)
                .await;
            sandboxed.push(started.elapsed());
            anyhow::ensure!(
                call.outcome.as_ref() == Ok(&decision),
                "the decision changed: {:?}",
                call.outcome
            );
        }
        for _ in 0..CALLS_PER_ROUND {
            let started = Instant::now();
            black_box(login_streak(black_box(7), black_box(&context), black_box(&facts)));
            native.push(started.elapsed());
        }
    }

    println!(
        "{} {}, {} bytes, params {params}",
        admitted.manifest.name, admitted.manifest.version, admitted.bytes
    );
    println!(
        "fuel {}, memory {} KiB, {} facts",
        call.fuel,
        call.memory >> 10,
        facts.len()
    );
    let sandboxed = Figures::of(&mut sandboxed);
    let native = Figures::of(&mut native);
    println!("                        min       median");
    println!(
        "fresh sandbox   {} {}  us",
        micros(sandboxed.min),
        micros(sandboxed.median)
    );
    println!("native Rust     {} {}  us", micros(native.min), micros(native.median));
    println!(
        "ratio           {:10.0} {:12.0}",
        sandboxed.min / native.min,
        sandboxed.median / native.median
    );
    Ok(())
}

/// Seconds.
struct Figures {
    min: f64,
    median: f64,
}

impl Figures {
    fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        Self {
            min: times[0].as_secs_f64(),
            median: times[times.len() / 2].as_secs_f64(),
        }
    }
}

fn micros(seconds: f64) -> String {
    format!("{:12.3}", seconds * 1e6)
}

/// The bundled rule without a sandbox.
fn login_streak(days: u32, context: &Context, facts: &[Fact]) -> Decision {
    let streak = match facts {
        [Fact::Days(streak)] => *streak,
        _ => Streak {
            current: 0,
            longest: 0,
            last_day: None,
        },
    };
    let eligible = streak.current >= days;
    let missing = days.saturating_sub(streak.current);
    let reason = Reason {
        code: "streak-too-short".to_owned(),
        message: format!("Log in on {missing} more days in a row."),
    };
    Decision {
        eligible,
        reasons: if eligible { Vec::new() } else { vec![reason] },
        progress: vec![Progress {
            key: "days".to_owned(),
            current: streak.current.into(),
            target: days.into(),
        }],
        awards: Awards::All,
        retry_at: (!eligible).then(|| context.now.plus(Duration::from_hours(24) * missing)),
    }
}

fn fact(query: &Query, context: &Context) -> Fact {
    match query {
        Query::Count(_) | Query::Sum(_) | Query::DistinctDays(_) | Query::Grants => Fact::Integer(5),
        Query::First(_) | Query::Last(_) => Fact::At(context.now),
        Query::Attribute(_) => Fact::Text("10".to_owned()),
        Query::Streak(_) => Fact::Days(Streak {
            current: 5,
            longest: 9,
            last_day: Some(context.local.date),
        }),
    }
}

fn context() -> anyhow::Result<Context> {
    let instant = |text: &str| text.parse().map_err(|fault: String| anyhow!(fault));
    Ok(Context {
        now: instant("2026-03-01T09:30:00Z")?,
        local: LocalTime {
            date: "2026-03-01".parse()?,
            weekday: 7,
            hour: 18,
            minute: 30,
            second: 0,
            utc_offset_minutes: 540,
        },
        time_zone: "Asia/Seoul".to_owned(),
        event: EventInfo {
            id: "01979f3a-6f5e-7cc4-a1f3-5f6f1c0e9a11".to_owned(),
            title: "Seven days in a row".to_owned(),
            starts: instant("2026-02-01T00:00:00Z")?,
            ends: instant("2026-04-01T00:00:00Z")?,
        },
        user: UserInfo {
            id: "01979f3a-6f5e-7cc4-a1f3-5f6f1c0e9a12".to_owned(),
            registered: instant("2026-01-01T00:00:00Z")?,
        },
        rewards: vec![RewardInfo {
            id: "01979f3a-6f5e-7cc4-a1f3-5f6f1c0e9a13".to_owned(),
            kind: "POINT".to_owned(),
            value: Some(100),
            max_quantity: 1,
        }],
        seed: [9; 32],
    })
}
