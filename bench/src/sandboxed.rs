//! The code path of a claim: a fresh instance for every decision, through the public interface of the sandbox.

use std::rc::Rc;

use meed_host::sandbox::Sandbox;
use tokio::runtime::Runtime;

use crate::harness::Row;
use crate::rules::Rule;

pub(crate) fn fresh(runtime: &Rc<Runtime>, sandbox: &Sandbox, rule: &Rc<Rule>) -> Row {
    let (runtime, sandbox, own) = (Rc::clone(runtime), sandbox.clone(), Rc::clone(rule));
    Row::new(name(&rule.name), move |samples| {
        let rule = &*own;
        runtime.block_on(samples.take_async(async || {
            let call = sandbox
                .evaluate(&rule.plugin, &rule.context, &rule.binding.state, &rule.facts)
                .await;
            assert_eq!(call.outcome.as_ref(), Ok(&rule.decision));
            call
        }));
    })
    .costs(rule.fuel, rule.memory)
}

pub(crate) fn name(rule: &str) -> String {
    format!("meed, fresh: {rule}")
}
