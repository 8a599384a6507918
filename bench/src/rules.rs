//! The evaluated modules, their input, and `login-streak` in plain Rust.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use meed_host::contract::{
    Awards, Binding, Context, Decision, EventInfo, Fact, LocalTime, Outcome, Progress, Query, Reason, RewardInfo,
    Streak, UserInfo, ZoneOffset,
};
use meed_host::sandbox::{Plugin, Sandbox};
use serde_json::{Value, json};

pub const LOGIN_STREAK: &str = "login-streak";
pub const DAYS: u32 = 7;

/// An admitted module, bound to the example of its schema, with its expected decision.
pub struct Rule {
    pub name: String,
    pub bytes: Vec<u8>,
    pub plugin: Plugin,
    pub binding: Binding,
    pub facts: Vec<Fact>,
    pub context: Context,
    pub decision: Decision,
    pub fuel: u64,
    pub memory: usize,
}

impl Rule {
    pub async fn load(sandbox: &Sandbox, path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let admitted = sandbox.admit(bytes.clone()).await.with_context(|| name.clone())?;
        let plugin = admitted.plugin;
        let schema = &admitted.manifest.params_schema;
        let params = match &schema["examples"][0] {
            // The samples in other languages implement the rule of `login-streak`.
            Value::Null if schema["properties"]["days"].is_object() => json!({"days": DAYS}),
            Value::Null => json!({}),
            example => example.clone(),
        };
        let params = &params.to_string();
        let bound = sandbox.bind(&plugin, params).await.outcome?;
        let binding = bound.map_err(|issues| anyhow!("{name} refuses {params}: {issues:?}"))?;
        let context = context()?;
        let facts: Vec<Fact> = binding.queries.iter().map(|query| fact(query, &context)).collect();
        let call = sandbox.evaluate(&plugin, &context, &binding.state, &facts).await;
        let decision = call.outcome.with_context(|| name.clone())?;
        if name == LOGIN_STREAK {
            ensure!(
                decision == login_streak(DAYS, &context, &facts),
                "{name} and the same rule in Rust decide differently: {decision:?}"
            );
        }
        Ok(Self {
            name,
            bytes,
            plugin,
            binding,
            facts,
            context,
            decision,
            fuel: call.fuel,
            memory: call.memory,
        })
    }
}

/// The bundled rule without a sandbox.
pub fn login_streak(days: u32, context: &Context, facts: &[Fact]) -> Decision {
    let streak = match facts {
        [Fact::Days(streak)] => *streak,
        _ => Streak {
            current: 0,
            longest: 0,
            last_day: None,
        },
    };
    let progress = |current: u32| Progress {
        key: "days".to_owned(),
        current: current.into(),
        target: days.into(),
    };
    if streak.current >= days {
        return Decision {
            outcome: Outcome::Eligible,
            reasons: Vec::new(),
            progress: vec![progress(days)],
            awards: Awards::All,
            retry_at: None,
        };
    }
    let missing = days - streak.current;
    let today_counts = streak.current > 0 && streak.last_day == Some(context.local.date);
    let noun = if missing == 1 { "day" } else { "days" };
    let days_ahead = missing - u32::from(!today_counts);
    Decision {
        outcome: Outcome::NotEligible,
        reasons: vec![Reason {
            code: "streak-too-short".to_owned(),
            message: format!("Log in on {missing} more {noun} in a row."),
            args: [("missing".to_owned(), missing.to_string())].into(),
        }],
        progress: vec![progress(streak.current)],
        // The sandbox also returns empty awards if the user is not eligible.
        awards: Awards::Chosen(Vec::new()),
        retry_at: (days_ahead > 0).then(|| {
            let local = &context.local;
            let since_midnight = u64::from(local.hour) * 3_600 + u64::from(local.minute) * 60 + u64::from(local.second);
            let midnight = context.now.minus(Duration::from_secs(since_midnight));
            midnight.plus(Duration::from_hours(24) * days_ahead)
        }),
    }
}

/// Five days of seven, the last one today; similar facts for other rules.
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
            utc_offset_seconds: 32_400,
        },
        time_zone: "Asia/Seoul".to_owned(),
        offsets: vec![ZoneOffset {
            starts: instant("2026-02-28T15:00:00Z")?,
            utc_offset_seconds: 32_400,
        }],
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
        // The example of `lucky-draw` has a weight for this id.
        rewards: vec![RewardInfo {
            id: "reward-1".to_owned(),
            kind: "POINT".to_owned(),
            value: Some(100),
            max_quantity: 1,
        }],
        seed: [9; 32],
    })
}
