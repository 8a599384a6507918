//! Input and output of the guests that use JSON. Both translations are part of the measurement.

use std::borrow::Cow;

use bench::rules::{DAYS, Rule};
use meed_host::clock::Timestamp;
use meed_host::contract::{Awards, Decision, Fact, Outcome, Progress, Reason};
use rule::{Context, EventInfo, Input, LocalTime, RewardInfo, Streak, UserInfo};

/// The whole input of a condition of the world `meed:condition`.
pub(crate) fn input(rule: &Rule) -> Vec<u8> {
    let [Fact::Days(streak)] = &*rule.facts else {
        panic!("login-streak asks for one streak");
    };
    let context = &rule.context;
    let text = |text| Cow::<str>::Borrowed(text);
    let input = Input {
        days: DAYS,
        context: Context {
            now: context.now.as_millis(),
            local: LocalTime {
                date: context.local.date.to_string().into(),
                weekday: context.local.weekday,
                hour: context.local.hour,
                minute: context.local.minute,
                second: context.local.second,
                utc_offset_seconds: context.local.utc_offset_seconds,
            },
            time_zone: text(&context.time_zone),
            event: EventInfo {
                id: text(&context.event.id),
                title: text(&context.event.title),
                starts: context.event.starts.as_millis(),
                ends: context.event.ends.as_millis(),
            },
            user: UserInfo {
                id: text(&context.user.id),
                registered: context.user.registered.as_millis(),
            },
            rewards: context
                .rewards
                .iter()
                .map(|reward| RewardInfo {
                    id: text(&reward.id),
                    kind: text(&reward.kind),
                    value: reward.value,
                    max_quantity: reward.max_quantity,
                })
                .collect(),
            seed: hex(&context.seed).into(),
        },
        streak: Streak {
            current: streak.current,
            longest: streak.longest,
            last_day: streak.last_day.map(|date| date.to_string().into()),
        },
    };
    serde_json::to_vec(&input).expect("it is JSON")
}

fn hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

pub(crate) fn decision(output: &[u8]) -> Decision {
    let decision: rule::Decision = serde_json::from_slice(output).expect("the guest answers with a decision");
    Decision {
        outcome: outcome(decision.eligible),
        reasons: decision
            .reasons
            .into_iter()
            .map(|reason| Reason {
                code: reason.code,
                message: reason.message,
                args: reason.args,
            })
            .collect(),
        progress: decision
            .progress
            .into_iter()
            .map(|progress| Progress {
                key: progress.key,
                current: progress.current,
                target: progress.target,
            })
            .collect(),
        awards: if decision.eligible {
            Awards::All
        } else {
            Awards::Chosen(Vec::new())
        },
        retry_at: decision.retry_at.map(instant),
    }
}

pub(crate) fn outcome(eligible: bool) -> Outcome {
    if eligible { Outcome::Eligible } else { Outcome::NotEligible }
}

pub(crate) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("a valid instant")
}
