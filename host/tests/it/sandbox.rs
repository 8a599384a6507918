//! The sandbox from outside: what it admits, what it refuses, and how it ends what goes wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod calls;
mod code_cache;
mod structure;
mod uploads;

use std::path::PathBuf;

use meed_host::contract::{Context, Decision, EventInfo, Fact, LocalTime, RewardInfo, UserInfo};
use meed_host::sandbox::{Call, Plugin, Sandbox, Settings};

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
    let admitted = sandbox.admit(condition.module()).await.unwrap();
    sandbox.loaded(admitted.digest).unwrap()
}

async fn evaluate(sandbox: &Sandbox, plugin: &Plugin) -> Call<Decision> {
    sandbox.evaluate(plugin, &context(), &[7], &[Fact::Integer(5)]).await
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
            utc_offset_minutes: 540,
        },
        time_zone: "Asia/Seoul".to_owned(),
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
