//! Extism: a fresh plugin from compiled code, and a reused one.

use std::rc::Rc;

use bench::harness::Row;
use bench::rules::Rule;
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use meed_host::contract::Decision;
// Enables a feature without which Extism does not compile.
use wasmtime_of_extism as _;

use crate::json;

pub(crate) fn rows(rule: &Rc<Rule>, wasm: Vec<u8>) -> anyhow::Result<Vec<Row>> {
    let manifest = Manifest::new([Wasm::data(wasm)]);
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false))?;
    let (own, again_rule) = (Rc::clone(rule), Rc::clone(rule));
    let again = compiled.clone();
    let fresh = Row::new("Extism 1.30, fresh", move |samples| {
        samples.take(|| {
            let mut plugin = Plugin::new_from_compiled(&compiled).expect("it was made before");
            let decision = evaluate(&mut plugin, &own);
            assert_eq!(decision, own.decision);
            decision
        });
    });
    let reused = Row::new("Extism 1.30, reused", move |samples| {
        let mut plugin = Plugin::new_from_compiled(&again).expect("it was made before");
        samples.take(|| {
            let decision = evaluate(&mut plugin, &again_rule);
            assert_eq!(decision, again_rule.decision);
            decision
        });
    });
    Ok(vec![fresh, reused])
}

fn evaluate(plugin: &mut Plugin, rule: &Rule) -> Decision {
    let output: &[u8] = plugin.call("evaluate", json::input(rule)).expect("it ran before");
    json::decision(output)
}
