//! The world `meed:condition/condition@1.0.0`: bindings, and translation from and to `crate::contract`.
//!
//! Translates only; `super::super::answer` checks the contract's limits.

use std::collections::BTreeMap;

use jiff::civil::Date;
use wasmtime::component::{Component, Linker, WasmStr};
use wasmtime::{Engine, Store, StoreContextMut};

use crate::clock::Timestamp;
use crate::contract;
use crate::exact_json;
use crate::sandbox::limits::NOTE_FUEL;
use crate::sandbox::run::{Failure, Guest};
use crate::sandbox::text;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../plugin-sdk/wit/v1",
        world: "condition",
        // The input of a guest is read in place, without a copy.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

use bindings::meed::condition::types as wit;

pub(in crate::sandbox) const WORLD: &str = "meed:condition/condition@1.0.0";
const LOG: &str = "meed:condition/log@1.0.0";
pub(in crate::sandbox) const TYPES: &str = "meed:condition/types@1.0.0";
/// What a plugin may import: types are no capability, and notes return nothing.
pub const IMPORTS: [&str; 2] = [TYPES, LOG];

/// A component whose imports and exports match the world, ready to be instantiated.
pub(in crate::sandbox) type Linked = bindings::ConditionPre<Guest>;

/// The type check. The error names the import or export that does not fit.
pub(in crate::sandbox) fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Linked> {
    let mut linker = Linker::new(engine);
    // Not with `add_to_linker`: a view of the message has the same cost at every length.
    linker
        .instance(LOG)?
        .func_wrap("note", |store: StoreContextMut<'_, Guest>, (message,): (WasmStr,)| {
            note(store, &message)
        })?;
    Linked::new(linker.instantiate_pre(component)?)
}

fn note(mut store: StoreContextMut<'_, Guest>, message: &WasmStr) -> wasmtime::Result<()> {
    // A dropped note costs the same, because the guest's fuel must not depend on our limits.
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(NOTE_FUEL))?;
    if store.data().notes.is_full() {
        return Ok(());
    }
    let text = message.to_str(&store)?.into_owned();
    store.data_mut().notes.push(&text);
    Ok(())
}

/// The params of `evaluate`.
type EvaluateParams<'a> = (wit::Context<'a>, &'a [u8], &'a [wit::Fact<'a>]);

fn start(linked: &Linked, store: &mut Store<Guest>) -> wasmtime::Result<bindings::Condition> {
    let instance = linked.instantiate(&mut *store)?;
    store.data_mut().started = true;
    Ok(instance)
}

pub(in crate::sandbox) fn describe(
    linked: &Linked,
    store: &mut Store<Guest>,
) -> wasmtime::Result<Result<contract::Manifest, Failure>> {
    let answer = start(linked, store)?.call_describe(store)?;
    Ok(manifest(answer))
}

fn manifest(manifest: wit::Manifest) -> Result<contract::Manifest, Failure> {
    let params_schema = exact_json::parse_schema(&manifest.params_schema)
        .map_err(|error| Failure::Malformed(format!("params-schema is not JSON: {error}")))?;
    let translations = manifest.translations.into_iter().map(|translation| {
        let texts = contract::Translation {
            title: translation.title,
            description: translation.description,
            labels: labels(translation.labels)?,
        };
        Ok((translation.language, texts))
    });
    Ok(contract::Manifest {
        name: manifest.name,
        version: manifest.version,
        title: manifest.title,
        description: manifest.description,
        texts: contract::Texts {
            labels: labels(manifest.labels)?,
            translations: unique("language", translations.collect::<Result<Vec<_>, Failure>>()?)?,
        },
        params_schema,
    })
}

fn labels(labels: Vec<wit::Label>) -> Result<BTreeMap<String, String>, Failure> {
    unique("label", labels.into_iter().map(|label| (label.key, label.text)))
}

/// A map of named items. A repeated name is malformed.
fn unique<T>(what: &str, items: impl IntoIterator<Item = (String, T)>) -> Result<BTreeMap<String, T>, Failure> {
    let mut map = BTreeMap::new();
    for (name, item) in items {
        if map.contains_key(&name) {
            let name = text::line(&name, 64);
            return Err(Failure::Malformed(format!("{what} {name:?} is there twice")));
        }
        map.insert(name, item);
    }
    Ok(map)
}

pub(in crate::sandbox) fn bind(
    linked: &Linked,
    store: &mut Store<Guest>,
    params: &str,
) -> wasmtime::Result<Result<Result<contract::Binding, Vec<contract::Issue>>, Failure>> {
    let answer = start(linked, store)?.call_bind(store, &params.to_owned())?;
    Ok(match answer {
        Ok(binding) => binding
            .queries
            .into_iter()
            .map(query)
            .collect::<Result<_, _>>()
            .map(|queries| {
                Ok(contract::Binding {
                    queries,
                    state: binding.state,
                })
            }),
        Err(issues) => Ok(Err(issues
            .into_iter()
            .map(|issue| contract::Issue {
                path: issue.path,
                message: issue.message,
            })
            .collect())),
    })
}

pub(in crate::sandbox) fn evaluate(
    linked: &Linked,
    store: &mut Store<Guest>,
    context: &contract::Context,
    state: &[u8],
    facts: &[contract::Fact],
) -> wasmtime::Result<Result<contract::Decision, Failure>> {
    let rewards: Vec<_> = context.rewards.iter().map(reward_to_wit).collect();
    let offsets: Vec<_> = context.offsets.iter().map(offset_to_wit).collect();
    let context = context_to_wit(context, &offsets, &rewards);
    let facts: Vec<_> = facts.iter().map(fact_to_wit).collect();
    // Not with the bindings: they would look up, and check the types of, all three exports of every instance.
    let instance = linked.instance_pre().instantiate(&mut *store)?;
    store.data_mut().started = true;
    let evaluate =
        instance.get_typed_func::<EvaluateParams<'_>, (Result<wit::Decision, String>,)>(&mut *store, "evaluate")?;
    let (answer,) = evaluate.call(store, (context, state, &facts))?;
    Ok(answer
        .map_err(|message| Failure::Refused(text::line(&message, 1024)))
        .and_then(decision))
}

fn instant(millis: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_millis(millis)
        .ok_or_else(|| Failure::Malformed(format!("instant {millis} lies outside the years 0001 to 9998")))
}

fn query(query: wit::Query) -> Result<contract::Query, Failure> {
    Ok(match query {
        wit::Query::Count(of) => contract::Query::Count(selection(of)?),
        wit::Query::Sum(of) => contract::Query::Sum(selection(of)?),
        wit::Query::DistinctDays(of) => contract::Query::DistinctDays(selection(of)?),
        wit::Query::Streak(of) => contract::Query::Streak(selection(of)?),
        wit::Query::First(of) => contract::Query::First(selection(of)?),
        wit::Query::Last(of) => contract::Query::Last(selection(of)?),
        wit::Query::Attribute(name) => contract::Query::Attribute(name),
        wit::Query::Grants => contract::Query::Grants,
    })
}

fn selection(selection: wit::Selection) -> Result<contract::Selection, Failure> {
    Ok(contract::Selection {
        kind: selection.kind,
        subject: match selection.subject {
            wit::Subject::Claimant => contract::Subject::Claimant,
            wit::Subject::Invitees => contract::Subject::Invitees,
        },
        window: match selection.window {
            wit::Window::EventPeriod => contract::Window::EventPeriod,
            wit::Window::AllTime => contract::Window::AllTime,
            wit::Window::LastDays(days) => contract::Window::LastDays(days),
            wit::Window::Since(millis) => contract::Window::Since(instant(millis)?),
        },
        filters: selection
            .filters
            .into_iter()
            .map(|filter| contract::Filter {
                attribute: filter.attribute,
                equals: filter.equals,
            })
            .collect(),
    })
}

fn reason(reason: wit::Reason) -> Result<contract::Reason, Failure> {
    let args = reason.args.into_iter().map(|arg| (arg.name, arg.value));
    Ok(contract::Reason {
        code: reason.code,
        message: reason.message,
        args: unique("argument", args)?,
    })
}

fn decision(decision: wit::Decision) -> Result<contract::Decision, Failure> {
    let outcome = match decision.outcome {
        wit::Outcome::Eligible => contract::Outcome::Eligible,
        wit::Outcome::NotEligible => contract::Outcome::NotEligible,
        wit::Outcome::NeedsReview => contract::Outcome::NeedsReview,
    };
    Ok(contract::Decision {
        outcome,
        reasons: decision.reasons.into_iter().map(reason).collect::<Result<_, _>>()?,
        progress: decision
            .progress
            .into_iter()
            .map(|progress| contract::Progress {
                key: progress.key,
                current: progress.current,
                target: progress.target,
            })
            .collect(),
        awards: match decision.awards {
            // Ignored, so it needs no check.
            _ if outcome == contract::Outcome::NotEligible => contract::Awards::Chosen(Vec::new()),
            wit::Awards::All => contract::Awards::All,
            wit::Awards::Chosen(awards) => contract::Awards::Chosen(
                awards
                    .into_iter()
                    .map(|award| contract::Award {
                        reward_id: award.reward_id,
                        quantity: award.quantity,
                    })
                    .collect(),
            ),
        },
        retry_at: decision.retry_at.map(instant).transpose()?,
    })
}

fn date_to_wit(date: Date) -> wit::Date {
    wit::Date {
        year: date.year().into(),
        month: date.month().unsigned_abs(),
        day: date.day().unsigned_abs(),
    }
}

fn fact_to_wit(fact: &contract::Fact) -> wit::Fact<'_> {
    match fact {
        contract::Fact::Absent => wit::Fact::Absent,
        contract::Fact::Integer(value) => wit::Fact::Integer(*value),
        contract::Fact::At(at) => wit::Fact::At(at.as_millis()),
        contract::Fact::Text(text) => wit::Fact::Text(text),
        contract::Fact::Days(streak) => wit::Fact::Days(wit::Streak {
            current: streak.current,
            longest: streak.longest,
            last_day: streak.last_day.map(date_to_wit),
        }),
    }
}

fn reward_to_wit(reward: &contract::RewardInfo) -> wit::RewardInfo<'_> {
    wit::RewardInfo {
        id: &reward.id,
        kind: &reward.kind,
        value: reward.value,
        max_quantity: reward.max_quantity,
    }
}

fn offset_to_wit(offset: &contract::ZoneOffset) -> wit::ZoneOffset {
    wit::ZoneOffset {
        starts: offset.starts.as_millis(),
        utc_offset_seconds: offset.utc_offset_seconds,
    }
}

fn context_to_wit<'a>(
    context: &'a contract::Context,
    offsets: &'a [wit::ZoneOffset],
    rewards: &'a [wit::RewardInfo<'a>],
) -> wit::Context<'a> {
    wit::Context {
        now: context.now.as_millis(),
        local: wit::LocalTime {
            date: date_to_wit(context.local.date),
            weekday: context.local.weekday,
            hour: context.local.hour,
            minute: context.local.minute,
            second: context.local.second,
            utc_offset_seconds: context.local.utc_offset_seconds,
        },
        time_zone: &context.time_zone,
        offsets,
        event: wit::EventInfo {
            id: &context.event.id,
            title: &context.event.title,
            starts: context.event.starts.as_millis(),
            ends: context.event.ends.as_millis(),
        },
        user: wit::UserInfo {
            id: &context.user.id,
            registered: context.user.registered.as_millis(),
        },
        rewards,
        seed: &context.seed,
    }
}
