//! `login-streak` over JSON: the input and output types of the guests, and the rule.
//!
//! The types contain the same facts as the world `meed:condition`, in the form of a typical JSON interface.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Input<'a> {
    pub days: u32,
    #[serde(borrow)]
    pub context: Context<'a>,
    #[serde(borrow)]
    pub streak: Streak<'a>,
}

#[derive(Serialize, Deserialize)]
pub struct Context<'a> {
    pub now: i64,
    #[serde(borrow)]
    pub local: LocalTime<'a>,
    #[serde(borrow)]
    pub time_zone: Cow<'a, str>,
    pub event: EventInfo<'a>,
    pub user: UserInfo<'a>,
    pub rewards: Vec<RewardInfo<'a>>,
    #[serde(borrow)]
    pub seed: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub struct LocalTime<'a> {
    #[serde(borrow)]
    pub date: Cow<'a, str>,
    pub weekday: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub utc_offset_seconds: i32,
}

#[derive(Serialize, Deserialize)]
pub struct EventInfo<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub title: Cow<'a, str>,
    pub starts: i64,
    pub ends: i64,
}

#[derive(Serialize, Deserialize)]
pub struct UserInfo<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    pub registered: i64,
}

#[derive(Serialize, Deserialize)]
pub struct RewardInfo<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub value: Option<i64>,
    pub max_quantity: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Streak<'a> {
    pub current: u32,
    pub longest: u32,
    #[serde(borrow)]
    pub last_day: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
pub struct Decision {
    pub eligible: bool,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub struct Reason {
    pub code: String,
    pub message: String,
    pub args: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub struct Progress {
    pub key: String,
    pub current: i64,
    pub target: i64,
}

pub fn decide(input: &Input<'_>) -> Decision {
    let (days, streak) = (input.days, &input.streak);
    let progress = |current: u32| Progress {
        key: "days".to_owned(),
        current: current.into(),
        target: days.into(),
    };
    if streak.current >= days {
        return Decision {
            eligible: true,
            reasons: Vec::new(),
            progress: vec![progress(days)],
            retry_at: None,
        };
    }
    let local = &input.context.local;
    let missing = days - streak.current;
    let today_counts = streak.current > 0 && streak.last_day.as_ref() == Some(&local.date);
    let noun = if missing == 1 { "day" } else { "days" };
    let days_ahead = i64::from(missing - u32::from(!today_counts));
    let since_midnight = i64::from(local.hour) * 3_600 + i64::from(local.minute) * 60 + i64::from(local.second);
    let this_second = input.context.now - input.context.now.rem_euclid(1_000);
    Decision {
        eligible: false,
        reasons: vec![Reason {
            code: "streak-too-short".to_owned(),
            message: format!("Log in on {missing} more {noun} in a row."),
            args: BTreeMap::from([("missing".to_owned(), missing.to_string())]),
        }],
        progress: vec![progress(streak.current)],
        retry_at: (days_ahead > 0).then_some(this_second + (days_ahead * 86_400 - since_midnight) * 1_000),
    }
}
