//! Fuzzes the results that a guest leaves in its memory: the decoder of the canonical ABI, and the validation behind
//! it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use meed_host::contract::{Awards, Context, Decision, MAX_INTEGER, Outcome};
use meed_host::sandbox::{Call, Plugin};

use crate::gate::with_metadata;
use crate::{RUNTIME, SANDBOX, context, evaluate};

/// Compiled once. Its results are the fuzz input.
static MIRROR: LazyLock<Plugin> = LazyLock::new(|| {
    let module = with_metadata(wat::parse_str(include_str!("mirror.wat")).unwrap());
    RUNTIME.block_on(SANDBOX.admit(module)).unwrap().plugin
});

/// The first byte chooses between `evaluate` and `bind`; the other bytes are the result.
pub fn decision(bytes: &[u8]) {
    let Some((choice, image)) = bytes.split_first() else {
        return;
    };
    if choice % 4 == 0 {
        let params = image.iter().fold(String::new(), |mut params, byte| {
            let _ = write!(params, "{byte:02x}");
            params
        });
        let bind = || RUNTIME.block_on(SANDBOX.bind(&MIRROR, &params));
        repeats(&bind(), &bind());
    } else {
        let call = evaluate(&MIRROR, image);
        repeats(&call, &evaluate(&MIRROR, image));
        if let Ok(decision) = call.outcome {
            keeps_to_the_contract(&decision, &context());
        }
    }
}

/// The same input gives the same result with the same fuel, unless the failure depended on the machine.
pub(crate) fn repeats<T: PartialEq + std::fmt::Debug>(first: &Call<T>, second: &Call<T>) {
    for call in [first, second] {
        if let Err(failure) = &call.outcome
            && !failure.is_deterministic()
        {
            assert_ne!(failure.code(), "sandbox-failure", "{failure}");
            return;
        }
    }
    assert_eq!((&first.outcome, first.fuel), (&second.outcome, second.fuel));
}

/// The guarantees that the rest of the host relies on.
pub(crate) fn keeps_to_the_contract(decision: &Decision, context: &Context) {
    assert!(decision.reasons.len() <= 32 && decision.progress.len() <= 32);
    assert!(decision.reasons.iter().all(|reason| reason.args.len() <= 16));
    for progress in &decision.progress {
        assert!(progress.current.abs() <= MAX_INTEGER && progress.target.abs() <= MAX_INTEGER);
    }
    if let Awards::Chosen(awards) = &decision.awards {
        assert!(decision.outcome != Outcome::NotEligible || awards.is_empty());
        for award in awards {
            let reward = context.rewards.iter().find(|reward| reward.id == award.reward_id);
            assert!((1..=reward.unwrap().max_quantity).contains(&award.quantity));
        }
    }
    let text = serde_json::to_string(decision).unwrap();
    assert!(!text.contains("\\u0000"), "{text}");
    assert_eq!(&serde_json::from_str::<Decision>(&text).unwrap(), decision);
}
