//! One hostile guest per limit of a call, and every other kind of early end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meed_host::contract::Fact;
use meed_host::sandbox::{COMPILE_WORKER, Failure};

use super::{bind, context, evaluate, failure_of, load, sandbox, sandbox_with};
use crate::guests::{Condition, ENDLESS};

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let failure = failure_of(Condition {
        evaluate: ENDLESS,
        ..Condition::default()
    })
    .await;
    assert_eq!(failure, Failure::OutOfFuel { limit: 1_000_000 });
    assert!(failure.is_deterministic());
}

#[tokio::test]
async fn running_out_of_fuel_counts_all_fuel_as_used() {
    let sandbox = sandbox();
    let plugin = load(
        &sandbox,
        &Condition {
            evaluate: ENDLESS,
            ..Condition::default()
        },
    )
    .await;
    assert_eq!(evaluate(&sandbox, &plugin).await.fuel, 1_000_000);
}

/// With fuel for hours, only the deadline ends these calls.
async fn ends_at_the_deadline(evaluate_text: &'static str) {
    let sandbox = sandbox_with(|settings| {
        settings.standard.call.evaluate_fuel = u64::MAX / 2;
        settings.standard.call.evaluate_deadline_ms = 100;
    });
    let condition = Condition {
        evaluate: evaluate_text,
        spare_pages: 30,
        ..Condition::default()
    };
    let plugin = load(&sandbox, &condition).await;
    let call = evaluate(&sandbox, &plugin).await;
    let failure = call.outcome.unwrap_err();
    assert_eq!(failure, Failure::Deadline(Duration::from_millis(100)));
    assert!(!failure.is_deterministic());
    // Generous for a busy machine; without the deadline the calls would run for hours.
    assert!(call.elapsed < Duration::from_secs(5), "{:?}", call.elapsed);
}

#[tokio::test]
async fn an_endless_loop_with_endless_fuel_ends_at_the_deadline() {
    ends_at_the_deadline(ENDLESS).await;
}

#[tokio::test]
async fn touching_pages_over_and_over_ends_at_the_deadline() {
    ends_at_the_deadline(
        "(local $at i32)
        (loop $again
            (i32.store8 offset=65536 (local.get $at) (i32.const 1))
            (local.set $at (i32.rem_u (i32.add (local.get $at) (i32.const 4096)) (i32.const 1900000)))
            (br $again))",
    )
    .await;
}

#[tokio::test]
async fn filling_memory_over_and_over_ends_at_the_deadline() {
    ends_at_the_deadline("(loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 1900000)) (br $again))")
        .await;
}

#[tokio::test]
async fn filling_memory_costs_fuel_by_the_byte() {
    let condition = Condition {
        evaluate: "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 1900000))",
        spare_pages: 30,
        ..Condition::default()
    };
    assert_eq!(failure_of(condition).await, Failure::OutOfFuel { limit: 1_000_000 });
}

#[tokio::test]
async fn growing_memory_beyond_the_limit_ends_the_call() {
    let condition = Condition {
        evaluate: "(drop (memory.grow (i32.const 31)))",
        ..Condition::default()
    };
    assert_eq!(
        failure_of(condition).await,
        Failure::Memory {
            wanted: 33 << 16,
            limit: 2 << 20
        }
    );
}

#[tokio::test]
async fn growing_memory_up_to_the_limit_is_allowed_and_counted() {
    let sandbox = sandbox();
    let condition = Condition {
        evaluate: "(drop (memory.grow (i32.const 30)))",
        ..Condition::default()
    };
    let plugin = load(&sandbox, &condition).await;
    let call = evaluate(&sandbox, &plugin).await;
    assert!(call.outcome.is_ok());
    assert_eq!(call.memory, 2 << 20);
}

#[tokio::test]
async fn growing_a_table_beyond_the_limit_ends_the_call() {
    let condition = Condition {
        items: "(table $t 1 funcref)".to_owned(),
        evaluate: "(drop (table.grow $t (ref.null func) (i32.const 10000)))",
        ..Condition::default()
    };
    assert_eq!(
        failure_of(condition).await,
        Failure::Table {
            wanted: 10_001,
            limit: 10_000
        }
    );
}

#[tokio::test]
async fn endless_recursion_overflows_the_stack() {
    let condition = Condition {
        items: "(func $down (param i64) (result i64)
            (i64.add (local.get 0) (call $down (i64.add (local.get 0) (i64.const 1)))))"
            .to_owned(),
        evaluate: "(drop (call $down (i64.const 0)))",
        ..Condition::default()
    };
    assert_eq!(failure_of(condition).await, Failure::Stack);
}

#[tokio::test]
async fn a_trap_in_evaluate_is_a_failure() {
    let failure = failure_of(Condition {
        evaluate: "unreachable",
        ..Condition::default()
    })
    .await;
    assert_eq!(
        failure,
        Failure::Trap("wasm trap: wasm `unreachable` instruction executed".to_owned())
    );
}

#[tokio::test]
async fn reading_beyond_memory_is_a_trap() {
    let failure = failure_of(Condition {
        evaluate: "(drop (i32.load (i32.const -8)))",
        ..Condition::default()
    })
    .await;
    assert_eq!(failure.code(), "trap");
}

#[tokio::test]
async fn a_trap_in_bind_is_a_failure() {
    let call = bind(Condition {
        bind: "unreachable",
        ..Condition::default()
    })
    .await;
    assert_eq!(call.outcome.unwrap_err().code(), "trap");
}

#[tokio::test]
async fn an_endless_loop_in_bind_runs_out_of_fuel() {
    let call = bind(Condition {
        bind: ENDLESS,
        ..Condition::default()
    })
    .await;
    assert_eq!(call.outcome, Err(Failure::OutOfFuel { limit: 10_000_000 }));
}

#[tokio::test]
async fn an_error_of_the_guest_is_a_failure_and_no_decision() {
    let condition = Condition {
        decision: Err("no facts".to_owned()),
        ..Condition::default()
    };
    assert_eq!(failure_of(condition).await, Failure::Refused("no facts".to_owned()));
}

#[tokio::test]
async fn input_beyond_the_limit_never_reaches_the_guest() {
    let sandbox = sandbox();
    let plugin = load(&sandbox, &Condition::default()).await;
    let facts = [Fact::Text("x".repeat(256 << 10))];
    let call = sandbox.evaluate(&plugin, &context(), &[], &facts).await;
    assert_eq!(call.outcome.unwrap_err().code(), "input-too-large");
    assert_eq!(call.fuel, 0);
    let call = sandbox.bind(&plugin, &"x".repeat((256 << 10) + 1)).await;
    assert_eq!(call.outcome.unwrap_err().code(), "input-too-large");
}

#[test]
fn when_memory_runs_out_the_compile_process_ends_first() {
    let mut compiling = Command::new(env!("CARGO_BIN_EXE_meed"))
        .args([COMPILE_WORKER, "1073741824", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the process starts");
    // It restricts itself, then waits for the upload.
    let file = format!("/proc/{}/oom_score_adj", compiling.id());
    let started = Instant::now();
    let mut score = String::new();
    while score.trim() != "1000" && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
        score = std::fs::read_to_string(&file).expect("a process");
    }
    drop(compiling.stdin.take());
    compiling.wait().expect("it ends");
    assert_eq!(score.trim(), "1000");
}
