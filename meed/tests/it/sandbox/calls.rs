//! Successful calls: answers arrive unchanged, runs are repeatable, and callers share the slots.

use std::time::{Duration, Instant};

use meed_host::contract::{Awards, Issue, MAX_INTEGER, Progress, Query, Window};
use meed_host::sandbox::{Class, Failure};

use super::{bind, binding, deciding, evaluate, load, sandbox, sandbox_with};
use crate::guests::{Condition, ENDLESS, logins};

#[tokio::test]
async fn a_valid_condition_binds_and_decides() {
    let condition = Condition::default();
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;

    let bound = sandbox.bind(&plugin, r#"{"days":7}"#).await;
    assert_eq!(bound.outcome, Ok(condition.binding));

    let call = evaluate(&sandbox, &plugin).await;
    assert_eq!(call.outcome, Ok(condition.decision.unwrap()));
    assert!(call.fuel > 0 && call.fuel < 1_000, "{}", call.fuel);
    assert_eq!(call.memory, 2 << 16);
    assert_eq!(call.notes, Vec::<String>::new());
}

#[tokio::test]
async fn every_query_and_every_answer_crosses_the_boundary_unchanged() {
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    let queries = vec![
        Query::Count(logins(Window::EventPeriod)),
        Query::Sum(logins(Window::AllTime)),
        Query::DistinctDays(logins(Window::LastDays(3660))),
        Query::Streak(logins(Window::Since(since))),
        Query::First(logins(Window::AllTime)),
        Query::Last(logins(Window::AllTime)),
        Query::Attribute("level".to_owned()),
        Query::Grants,
    ];
    let bound = bind(binding(queries.clone())).await;
    assert_eq!(bound.outcome.unwrap().unwrap().queries, queries);

    let condition = deciding(|decision| {
        decision.progress = vec![Progress {
            key: "days".to_owned(),
            current: -MAX_INTEGER,
            target: MAX_INTEGER,
        }];
        decision.awards = Awards::All;
        decision.retry_at = Some(since);
    });
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    assert_eq!(
        evaluate(&sandbox, &plugin).await.outcome,
        Ok(condition.decision.unwrap())
    );
}

#[tokio::test]
async fn issues_with_the_params_are_returned() {
    let issues = vec![Issue {
        path: "/days".to_owned(),
        message: "must be at least 1".to_owned(),
    }];
    let call = bind(Condition {
        binding: Err(issues.clone()),
        ..Condition::default()
    })
    .await;
    assert_eq!(call.outcome, Ok(Err(issues)));
}

#[tokio::test]
async fn the_same_input_costs_the_same_fuel_on_any_thread_and_under_other_limits() {
    let condition = Condition {
        items: "(global $i (mut i32) (i32.const 1000))".to_owned(),
        evaluate: "(loop $again
            (global.set $i (i32.sub (global.get $i) (i32.const 1)))
            (br_if $again (global.get $i)))",
        ..Condition::default()
    };
    let inline = sandbox();
    let aside = sandbox_with(|settings| {
        settings.standard.call.evaluate_fuel = 50_000_000;
        settings.standard.call.memory_bytes = 16 << 20;
    });
    assert_eq!(inline.fingerprint(), aside.fingerprint());
    let mut calls = Vec::new();
    for sandbox in [&inline, &inline, &aside] {
        let plugin = load(sandbox, &condition).await;
        let call = evaluate(sandbox, &plugin).await;
        calls.push((call.outcome.unwrap(), call.fuel));
    }
    assert!(calls[0].1 > 1_000);
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[0], calls[2]);
}

#[tokio::test]
async fn nan_has_the_same_bits_on_every_machine() {
    let condition = Condition {
        evaluate: "(if (i64.ne
                (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))
                (i64.const 0x7ff8000000000000))
            (then unreachable))",
        ..Condition::default()
    };
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    assert!(evaluate(&sandbox, &plugin).await.outcome.is_ok());
}

#[tokio::test]
async fn no_state_survives_a_call() {
    // The guest traps if a global or the memory contains data of an earlier call.
    let condition = Condition {
        items: "(global $calls (mut i32) (i32.const 0))".to_owned(),
        evaluate: "(if (i32.or (global.get $calls) (i32.load (i32.const 8))) (then unreachable))
            (global.set $calls (i32.const 1))
            (i32.store (i32.const 8) (i32.const 1))",
        ..Condition::default()
    };
    let sandbox = sandbox_with(|settings| settings.slots = 1);
    let plugin = load(&sandbox, &condition).await;
    for _ in 0..3 {
        assert!(evaluate(&sandbox, &plugin).await.outcome.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_callers_than_slots_wait_for_each_other() {
    let sandbox = sandbox_with(|settings| {
        settings.slots = 2;
        settings.wait = Duration::from_mins(1);
    });
    let plugin = load(&sandbox, &Condition::default()).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (sandbox, plugin) = (sandbox.clone(), plugin.clone());
        callers.spawn(async move { evaluate(&sandbox, &plugin).await.outcome });
    }
    for outcome in callers.join_all().await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_full_pool_is_overloaded_and_recovers() {
    let sandbox = sandbox_with(|settings| {
        settings.slots = 1;
        settings.wait = Duration::from_millis(1);
        settings.standard.call.evaluate_fuel = u64::MAX / 2;
        settings.standard.call.evaluate_deadline_ms = 300;
    });
    let plugin = load(
        &sandbox,
        &Condition {
            evaluate: ENDLESS,
            ..Condition::default()
        },
    )
    .await;
    let (first, second) = tokio::join!(evaluate(&sandbox, &plugin), evaluate(&sandbox, &plugin));
    assert_eq!(first.outcome, Err(Failure::Deadline(Duration::from_millis(300))));
    assert_eq!(second.outcome, Err(Failure::Overloaded));
    assert_eq!(sandbox.slots(Class::Standard), (0, 1));
    assert_eq!(
        evaluate(&sandbox, &plugin).await.outcome,
        Err(Failure::Deadline(Duration::from_millis(300)))
    );
}

#[tokio::test]
async fn a_long_evaluation_does_not_block_the_request_thread() {
    let sandbox = sandbox_with(|settings| {
        settings.standard.call.evaluate_fuel = u64::MAX / 2;
        settings.standard.call.evaluate_deadline_ms = 1_000;
    });
    let plugin = load(
        &sandbox,
        &Condition {
            evaluate: ENDLESS,
            ..Condition::default()
        },
    )
    .await;
    let started = Instant::now();
    tokio::select! {
        _ = evaluate(&sandbox, &plugin) => panic!("the evaluation held up the only thread"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert!(started.elapsed() < Duration::from_millis(900));
}
