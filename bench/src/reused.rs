//! Calls one instance repeatedly, which the server never does. The difference is the cost of a fresh instance.
//!
//! It uses the sandbox's engine directly, without translating arguments and results from the types of the bindings.

use std::rc::Rc;

use meed_host::contract;
use wasmtime::component::{Component, Linker, WasmStr};
use wasmtime::{Engine, Store, StoreContextMut};
use wit_component::ComponentEncoder;

use crate::harness::Row;
use crate::rules::Rule;

mod bindings {
    wasmtime::component::bindgen!({ path: "../plugin-sdk/wit/v1", world: "condition" });
}

use bindings::meed::condition::types as wit;

type Ready = bindings::ConditionPre<()>;

pub(crate) fn reused(engine: &Engine, rule: &Rc<Rule>) -> anyhow::Result<Row> {
    let (ready, own) = (link(engine, &rule.bytes)?, Rc::clone(rule));
    let engine = engine.clone();
    let (context, facts) = (context(&rule.context), facts(&rule.facts));
    let row = Row::new(format!("reused instance: {}", rule.name), move |samples| {
        // One instance per round, because the allocator of the bundled rules never frees memory.
        let mut store = store(&engine);
        let instance = ready.instantiate(&mut store).expect("it was instantiated before");
        let state = &own.binding.state;
        samples.take(|| {
            limit(&mut store);
            let decision = instance
                .call_evaluate(&mut store, &context, state, &facts)
                .expect("it ran before")
                .expect("it decided before");
            let is_eligible = matches!(decision.outcome, wit::Outcome::Eligible);
            assert_eq!(is_eligible, own.decision.outcome == contract::Outcome::Eligible);
            decision
        });
    });
    Ok(row)
}

pub(crate) fn instantiated(engine: &Engine, rule: &Rc<Rule>) -> anyhow::Result<Row> {
    let ready = link(engine, &rule.bytes)?;
    let engine = engine.clone();
    let row = Row::new(format!("floor: {}, not called", rule.name), move |samples| {
        samples.take(|| {
            let mut store = store(&engine);
            limit(&mut store);
            ready.instantiate(&mut store).expect("it was instantiated before");
        });
    });
    Ok(row)
}

fn link(engine: &Engine, bytes: &[u8]) -> anyhow::Result<Ready> {
    let mut linker = Linker::new(engine);
    linker
        .instance("meed:condition/log@1.0.0")?
        .func_wrap("note", |_: StoreContextMut<'_, ()>, _: (WasmStr,)| Ok(()))?;
    Ok(Ready::new(linker.instantiate_pre(&component(engine, bytes)?)?)?)
}

/// Turns a core module into a component, like the sandbox: linkers of compiled languages produce core modules.
fn component(engine: &Engine, bytes: &[u8]) -> anyhow::Result<Component> {
    if wasmparser::Parser::is_component(bytes) {
        return Ok(Component::new(engine, bytes)?);
    }
    let component = ComponentEncoder::default().module(bytes)?.encode()?;
    Ok(Component::new(engine, component)?)
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    limit(&mut store);
    store
}

fn limit(store: &mut Store<()>) {
    store.set_fuel(1 << 40).expect("fuel is on");
    store.set_epoch_deadline(1_000_000);
    store.set_hostcall_fuel(256 << 10);
}

fn context(context: &contract::Context) -> wit::Context {
    let local = &context.local;
    wit::Context {
        now: context.now.as_millis(),
        local: wit::LocalTime {
            date: wit::Date {
                year: local.date.year().into(),
                month: local.date.month().unsigned_abs(),
                day: local.date.day().unsigned_abs(),
            },
            weekday: local.weekday,
            hour: local.hour,
            minute: local.minute,
            second: local.second,
            utc_offset_seconds: local.utc_offset_seconds,
        },
        time_zone: context.time_zone.clone(),
        offsets: context
            .offsets
            .iter()
            .map(|offset| wit::ZoneOffset {
                starts: offset.starts.as_millis(),
                utc_offset_seconds: offset.utc_offset_seconds,
            })
            .collect(),
        event: wit::EventInfo {
            id: context.event.id.clone(),
            title: context.event.title.clone(),
            starts: context.event.starts.as_millis(),
            ends: context.event.ends.as_millis(),
        },
        user: wit::UserInfo {
            id: context.user.id.clone(),
            registered: context.user.registered.as_millis(),
        },
        rewards: context
            .rewards
            .iter()
            .map(|reward| wit::RewardInfo {
                id: reward.id.clone(),
                kind: reward.kind.clone(),
                value: reward.value,
                max_quantity: reward.max_quantity,
            })
            .collect(),
        seed: context.seed.to_vec(),
    }
}

fn facts(facts: &[contract::Fact]) -> Vec<wit::Fact> {
    facts
        .iter()
        .map(|fact| match fact {
            contract::Fact::Absent => wit::Fact::Absent,
            contract::Fact::Integer(value) => wit::Fact::Integer(*value),
            contract::Fact::At(at) => wit::Fact::At(at.as_millis()),
            contract::Fact::Text(text) => wit::Fact::Text(text.clone()),
            contract::Fact::Days(streak) => wit::Fact::Days(wit::Streak {
                current: streak.current,
                longest: streak.longest,
                last_day: streak.last_day.map(|date| wit::Date {
                    year: date.year().into(),
                    month: date.month().unsigned_abs(),
                    day: date.day().unsigned_abs(),
                }),
            }),
        })
        .collect()
}
