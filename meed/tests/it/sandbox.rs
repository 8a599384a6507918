//! The sandbox through its public interface: admitted and refused uploads, limits and failures.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod calls;
mod code_cache;
mod hostile;
mod lies;
mod limits;
mod notes;
mod structure;
mod uploads;

use std::path::PathBuf;

use meed_host::contract::{
    Binding, Context, Decision, EventInfo, Fact, Issue, LocalTime, Query, RewardInfo, UserInfo, ZoneOffset,
};
use meed_host::sandbox::{Call, Failure, Plugin, Sandbox, Settings};

use crate::guests::Condition;

fn executable() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_meed"))
}

fn sandbox() -> Sandbox {
    sandbox_with(|_| ())
}

fn sandbox_with(change: impl FnOnce(&mut Settings)) -> Sandbox {
    let mut settings = Settings::default();
    change(&mut settings);
    Sandbox::new(&settings, executable(), None).unwrap()
}

async fn load(sandbox: &Sandbox, condition: &Condition) -> Plugin {
    sandbox.admit(condition.module()).await.unwrap().plugin
}

async fn evaluate(sandbox: &Sandbox, plugin: &Plugin) -> Call<Decision> {
    sandbox.evaluate(plugin, &context(), &[7], &[Fact::Integer(5)]).await
}

/// The failure of an evaluation of this guest under the default limits.
async fn failure_of(condition: Condition) -> Failure {
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    evaluate(&sandbox, &plugin).await.outcome.unwrap_err()
}

async fn bind(condition: Condition) -> Call<Result<Binding, Vec<Issue>>> {
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    sandbox.bind(&plugin, "{}").await
}

/// A guest that returns the valid decision with a change.
fn deciding(change: impl FnOnce(&mut Decision)) -> Condition {
    let mut condition = Condition::default();
    change(condition.decision.as_mut().unwrap());
    condition
}

fn binding(queries: Vec<Query>) -> Condition {
    Condition {
        binding: Ok(Binding {
            queries,
            state: Vec::new(),
        }),
        ..Condition::default()
    }
}

fn context() -> Context {
    let now = "2026-03-01T09:30:00Z".parse().unwrap();
    Context {
        now,
        local: LocalTime {
            date: "2026-03-01".parse().unwrap(),
            weekday: 7,
            hour: 18,
            minute: 30,
            second: 0,
            utc_offset_seconds: 32_400,
        },
        time_zone: "Asia/Seoul".to_owned(),
        offsets: vec![ZoneOffset {
            starts: "2026-02-28T15:00:00Z".parse().unwrap(),
            utc_offset_seconds: 32_400,
        }],
        event: EventInfo {
            id: "event".to_owned(),
            title: "Seven days in a row".to_owned(),
            starts: "2026-02-01T00:00:00Z".parse().unwrap(),
            ends: "2026-04-01T00:00:00Z".parse().unwrap(),
        },
        user: UserInfo {
            id: "user".to_owned(),
            registered: now,
        },
        rewards: vec![
            RewardInfo {
                id: "gold".to_owned(),
                kind: "POINT".to_owned(),
                value: Some(100),
                max_quantity: 2,
            },
            RewardInfo {
                id: "sold-out".to_owned(),
                kind: "ITEM".to_owned(),
                value: None,
                max_quantity: 0,
            },
        ],
        seed: [9; 32],
    }
}
