//! Test a rule with plain `cargo test`, without Wasm and without a server.
//!
//! ```
//! # use meed_plugin_sdk::prelude::*;
//! # #[derive(Params)]
//! # struct Purchases {
//! #     #[param(minimum = 1, maximum = 100)]
//! #     count: u32,
//! # }
//! # struct Buyers;
//! # impl Condition for Buyers {
//! #     const TITLE: &'static str = "Buyers";
//! #     const DESCRIPTION: &'static str = "";
//! #     type Params = Purchases;
//! #     type Plan = Query<i64>;
//! #     fn plan(_: &Purchases) -> Query<i64> {
//! #         count("shop.purchase")
//! #     }
//! #     fn decide(params: &Purchases, _: &Context, bought: i64) -> Decision {
//! #         if bought >= params.count.into() {
//! #             return Decision::eligible();
//! #         }
//! #         Decision::not_yet("too-few-purchases", "Buy more.").progress("purchases", bought, params.count)
//! #     }
//! # }
//! use meed_plugin_sdk::testing;
//!
//! let rule = testing::bind::<Buyers>(r#"{"count": 3}"#).unwrap();
//! assert_eq!(*rule.plan(), count("shop.purchase").event_period());
//!
//! let decision = rule.decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), 2);
//! assert_eq!(decision.reasons[0].code, "too-few-purchases");
//!
//! let issues = testing::bind::<Buyers>(r#"{"count": 0}"#).unwrap_err();
//! assert_eq!(issues[0].path, "/count");
//! ```
//!
//! Params and facts pass the same steps as on a server: the schema, [`Condition::check`], the state, the wire types. A
//! decision that a server would refuse is a panic here.

use crate::bindings::types as wire;
use crate::{
    Awards, Condition, Context, Decision, Event, Issue, LocalTime, Outcome, Plan, Reason, Reward, Seed, Timestamp, User,
};
use crate::{Date, ZoneOffset, export, log, params};
use jiff::Zoned;
use std::fmt;

/// Binds params to a rule, as a server does when an operator creates an event.
///
/// # Errors
/// The issues that an operator would see.
///
/// # Panics
/// If `params` is not JSON, or the schema of the params is not a JSON Schema.
pub fn bind<C: Condition>(params: &str) -> Result<Bound<C>, Vec<Issue>> {
    let value: serde_json::Value = serde_json::from_str(params).unwrap_or_else(|error| panic!("{params}: {error}"));
    let validator = jsonschema::draft202012::new(&schema::<C>())
        .unwrap_or_else(|error| panic!("the schema of the params is no JSON Schema 2020-12: {error}"));
    let issues: Vec<_> = validator
        .iter_errors(&value)
        .map(|error| Issue::at(error.instance_path().to_string(), error.to_string()))
        .collect();
    if !issues.is_empty() {
        return Err(issues);
    }
    let binding = export::bind::<C>(params.to_owned())?;
    let read = params::read::<C::Params>(params.as_bytes()).map_err(|issue| vec![issue])?;
    Ok(Bound {
        plan: C::plan(&read),
        state: binding.state,
    })
}

/// The JSON Schema of a rule's params.
///
/// # Panics
/// If it is not JSON.
pub fn schema<C: Condition>() -> serde_json::Value {
    let schema = params::schema::<C::Params>();
    serde_json::from_str(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// The notes that the rules of this thread wrote since the last call.
pub fn notes() -> Vec<String> {
    log::take_notes()
}

/// A rule with its params.
pub struct Bound<C: Condition> {
    plan: C::Plan,
    state: Vec<u8>,
}

impl<C: Condition> Bound<C> {
    /// Its queries.
    pub fn plan(&self) -> &C::Plan {
        &self.plan
    }

    /// Its decision, when these facts answer its plan.
    ///
    /// # Panics
    /// If the facts have another shape than the plan, or a server would not accept the decision.
    pub fn decide(&self, context: impl Into<Context>, facts: <C::Plan as Plan>::Facts) -> Decision {
        let context = context.into();
        let mut wire = Vec::new();
        assert!(
            self.plan.write(facts, &mut wire),
            "the facts have another shape than the plan of these params"
        );
        let decision = export::evaluate::<C>(to_wire(&context), &self.state, wire)
            .unwrap_or_else(|error| panic!("the rule could not decide: {error}"));
        check(&decision, &context);
        decision
    }
}

impl<C: Condition> fmt::Debug for Bound<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} with {}", C::TITLE, String::from_utf8_lossy(&self.state))
    }
}

/// A context for tests; convert it to a [`Context`] or pass it to [`Bound::decide`] directly.
#[derive(Debug, Clone)]
pub struct ContextBuilder(Context);

/// A context at a wall-clock time in a zone, e.g. `2026-03-02T09:00[Asia/Seoul]`.
///
/// The event began a week ago and ends in a week, its one reward is 100 points, the user registered a month ago, the
/// seed is all zeros.
///
/// # Panics
/// If the text is not such a time.
pub fn context(now: &str) -> ContextBuilder {
    let zoned: Zoned = now
        .parse()
        .unwrap_or_else(|error| panic!("{now} is no time such as 2026-03-02T09:00[Asia/Seoul]: {error}"));
    let now = Timestamp::from_millis(zoned.timestamp().as_millisecond());
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    ContextBuilder(Context {
        now,
        local: local(&zoned),
        offsets: offsets(&zoned),
        time_zone: zoned.time_zone().iana_name().unwrap_or("UTC").to_owned(),
        event: Event {
            id: "event-1".to_owned(),
            title: "An event".to_owned(),
            starts: now - days(7),
            ends: now + days(7),
        },
        user: User {
            id: "user-1".to_owned(),
            registered: now - days(30),
        },
        rewards: vec![reward("points", 1)],
        seed: Seed([0; 32]),
    })
}

/// A reward of kind `POINT` that is worth 100.
pub fn reward(id: &str, max_quantity: u32) -> Reward {
    Reward {
        id: id.to_owned(),
        kind: "POINT".to_owned(),
        value: Some(100),
        max_quantity,
    }
}

impl ContextBuilder {
    /// With these rewards.
    #[must_use]
    pub fn rewards(mut self, rewards: impl IntoIterator<Item = Reward>) -> Self {
        self.0.rewards = rewards.into_iter().collect();
        self
    }

    /// With this seed.
    #[must_use]
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.0.seed = Seed(seed);
        self
    }

    /// With this event.
    #[must_use]
    pub fn event(mut self, event: Event) -> Self {
        self.0.event = event;
        self
    }

    /// With this user.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.0.user = user;
        self
    }
}

impl From<ContextBuilder> for Context {
    fn from(builder: ContextBuilder) -> Self {
        builder.0
    }
}

fn local(zoned: &Zoned) -> LocalTime {
    let part = |part: i8| u8::try_from(part).expect("parts of a date are positive");
    LocalTime {
        date: Date {
            year: zoned.year().into(),
            month: part(zoned.month()),
            day: part(zoned.day()),
        },
        weekday: part(zoned.weekday().to_monday_one_offset()),
        hour: part(zoned.hour()),
        minute: part(zoned.minute()),
        second: part(zoned.second()),
        utc_offset_seconds: zoned.offset().seconds(),
    }
}

/// As the server provides them: from the start of today to 400 days ahead.
fn offsets(now: &Zoned) -> Vec<ZoneOffset> {
    let today = now.start_of_day().expect("the day has a start");
    let end = now.timestamp() + jiff::SignedDuration::from_hours(400 * 24);
    let changes = now.time_zone().following(today.timestamp());
    let changes = changes.map(|change| (change.timestamp(), change.offset()));
    let mut offsets: Vec<ZoneOffset> = Vec::new();
    for (starts, offset) in std::iter::once((today.timestamp(), today.offset())).chain(changes) {
        if starts > end {
            break;
        }
        let utc_offset_seconds = offset.seconds();
        if offsets
            .last()
            .is_none_or(|last| last.utc_offset_seconds != utc_offset_seconds)
        {
            let starts = Timestamp::from_millis(starts.as_millisecond());
            offsets.push(ZoneOffset {
                starts,
                utc_offset_seconds,
            });
        }
    }
    offsets
}

/// Panics where a server would refuse the decision.
fn check(decision: &Decision, context: &Context) {
    for code in decision
        .reasons
        .iter()
        .map(|reason| &reason.code)
        .chain(decision.progress.iter().map(|progress| &progress.key))
    {
        let kebab = !code.is_empty()
            && code
                .split('-')
                .all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert!(kebab, "`{code}` is not kebab-case");
    }
    assert!(
        decision.outcome == Outcome::Eligible || !decision.reasons.is_empty(),
        "a decision that is not eligible needs a reason"
    );
    for Reason { code, args, .. } in &decision.reasons {
        for (index, argument) in args.iter().enumerate() {
            let name = &argument.name;
            let repeated = args[..index].iter().any(|other| other.name == *name);
            assert!(!repeated, "reason `{code}` has the argument `{name}` twice");
        }
    }
    let Awards::Chosen(chosen) = &decision.awards else {
        return;
    };
    for (index, award) in chosen.iter().enumerate() {
        let id = &award.reward_id;
        let reward = context.rewards.iter().find(|reward| reward.id == *id);
        let reward = reward.unwrap_or_else(|| panic!("the event has no reward `{id}`"));
        assert!(
            (1..=reward.max_quantity).contains(&award.quantity),
            "{} of reward `{id}` were awarded, but 1 to {} are allowed",
            award.quantity,
            reward.max_quantity
        );
        assert!(
            !chosen[..index].iter().any(|other| other.reward_id == *id),
            "reward `{id}` was awarded twice"
        );
    }
}

fn to_wire(context: &Context) -> wire::Context {
    wire::Context {
        now: context.now.millis(),
        local: context.local,
        time_zone: context.time_zone.clone(),
        offsets: context
            .offsets
            .iter()
            .map(|offset| wire::ZoneOffset {
                starts: offset.starts.millis(),
                utc_offset_seconds: offset.utc_offset_seconds,
            })
            .collect(),
        event: wire::EventInfo {
            id: context.event.id.clone(),
            title: context.event.title.clone(),
            starts: context.event.starts.millis(),
            ends: context.event.ends.millis(),
        },
        user: wire::UserInfo {
            id: context.user.id.clone(),
            registered: context.user.registered.millis(),
        },
        rewards: context.rewards.clone(),
        seed: context.seed.0.to_vec(),
    }
}
