//! Calls of plugins that were admitted: the honest way, and one hostile guest per limit.

use std::time::{Duration, Instant};

use meed_host::contract::{
    Award, Awards, Binding, Decision, Fact, Issue, MAX_INTEGER, Progress, Query, Reason, Window,
};
use meed_host::sandbox::{Call, Failure};

use super::{context, evaluate, load, sandbox, sandbox_with};
use crate::guests::{Condition, ENDLESS, IMPORT_NOTE, logins};

/// How an evaluation of this guest fails under the default limits.
async fn failure_of(condition: Condition) -> Failure {
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    evaluate(&sandbox, &plugin).await.outcome.unwrap_err()
}

async fn bind(condition: Condition) -> Call<Result<Binding, Vec<Issue>>> {
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    sandbox.bind(&plugin, "{}").await
}

fn malformed(text: &str) -> Failure {
    Failure::Malformed(text.to_owned())
}

/// A guest that decides like the honest one, with a change.
fn deciding(change: impl FnOnce(&mut Decision)) -> Condition {
    let mut condition = Condition::default();
    change(condition.decision.as_mut().unwrap());
    condition
}

fn binding(queries: Vec<Query>) -> Condition {
    Condition {
        binding: Ok(Binding {
            queries,
            state: Vec::new(),
        }),
        ..Condition::default()
    }
}

#[tokio::test]
async fn an_honest_condition_binds_and_decides() {
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
async fn issues_with_the_params_are_an_answer() {
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
        settings.call.evaluate_fuel = 50_000_000;
        settings.call.memory_bytes = 16 << 20;
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
async fn nothing_survives_a_call() {
    // Traps when it finds what an earlier call left behind, in a global or in memory.
    let condition = Condition {
        items: "(global $calls (mut i32) (i32.const 0))".to_owned(),
        evaluate: "(if (i32.or (global.get $calls) (i32.load (i32.const 8))) (then unreachable))
            (global.set $calls (i32.const 1))
            (i32.store (i32.const 8) (i32.const 1))",
        ..Condition::default()
    };
    let sandbox = sandbox_with(|settings| settings.pool.slots = 1);
    let plugin = load(&sandbox, &condition).await;
    for _ in 0..3 {
        assert!(evaluate(&sandbox, &plugin).await.outcome.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_callers_than_slots_wait_for_each_other() {
    let sandbox = sandbox_with(|settings| {
        settings.pool.slots = 2;
        settings.pool.wait_ms = 60_000;
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
        settings.pool.slots = 1;
        settings.pool.wait_ms = 1;
        settings.call.evaluate_fuel = u64::MAX / 2;
        settings.call.evaluate_deadline_ms = 300;
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
    assert_eq!(
        evaluate(&sandbox, &plugin).await.outcome,
        Err(Failure::Deadline(Duration::from_millis(300)))
    );
}

#[tokio::test]
async fn a_long_evaluation_does_not_hold_up_the_thread_that_serves_requests() {
    let sandbox = sandbox_with(|settings| {
        settings.call.evaluate_fuel = u64::MAX / 2;
        settings.call.evaluate_deadline_ms = 1_000;
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
async fn all_fuel_counts_as_spent_when_it_runs_out() {
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

/// With fuel for hours, time is what ends these.
async fn ends_at_the_deadline(evaluate_text: &'static str) {
    let sandbox = sandbox_with(|settings| {
        settings.call.evaluate_fuel = u64::MAX / 2;
        settings.call.evaluate_deadline_ms = 100;
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
    // Generous, for a busy machine; without the deadline these run for hours.
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
async fn endless_recursion_exhausts_the_stack() {
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

mod lies {
    //! Answers that the canonical ABI does not allow.

    use super::*;

    async fn refused(condition: Condition, expected: &str) {
        match failure_of(condition).await {
            Failure::Malformed(text) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    fn running(evaluate: &'static str) -> Condition {
        Condition {
            evaluate,
            ..Condition::default()
        }
    }

    #[tokio::test]
    async fn an_answer_outside_memory() {
        refused(running("(return (i32.const -16))"), "out of bounds").await;
    }

    #[tokio::test]
    async fn an_answer_that_is_not_aligned() {
        refused(running("(return (i32.const 1025))"), "align").await;
    }

    #[tokio::test]
    async fn a_list_that_reaches_beyond_memory() {
        // The length of `reasons`.
        refused(
            running("(i32.store (i32.const 16) (i32.const 0x7fffffff)) (return (i32.const 0))"),
            "out of bounds",
        )
        .await;
    }

    #[tokio::test]
    async fn a_list_that_is_longer_than_a_transfer() {
        refused(
            running("(i32.store (i32.const 16) (i32.const 8000)) (return (i32.const 0))"),
            "hostcall",
        )
        .await;
    }

    #[tokio::test]
    async fn a_string_that_reaches_beyond_memory() {
        // One reason at 256, whose message is longer than memory.
        refused(
            running(
                "(i32.store (i32.const 12) (i32.const 256)) (i32.store (i32.const 16) (i32.const 1))
            (i32.store (i32.const 268) (i32.const 0x7fffffff)) (return (i32.const 0))",
            ),
            "out of bounds",
        )
        .await;
    }

    #[tokio::test]
    async fn one_long_string_given_a_thousand_times_is_not_copied_a_thousand_times() {
        // A thousand reasons at 131072, each with the same message of 60 000 bytes.
        let evaluate = "(local $at i32)
            (local.set $at (i32.const 131072))
            (loop $again
                (i32.store offset=8 (local.get $at) (i32.const 196608))
                (i32.store offset=12 (local.get $at) (i32.const 60000))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (br_if $again (i32.lt_u (local.get $at) (i32.const 147072))))
            (i32.store (i32.const 12) (i32.const 131072)) (i32.store (i32.const 16) (i32.const 1000))
            (return (i32.const 0))";
        refused(
            Condition {
                evaluate,
                spare_pages: 3,
                ..Condition::default()
            },
            "hostcall",
        )
        .await;
    }

    #[tokio::test]
    async fn text_that_is_not_utf8() {
        refused(
            running(
                "(i32.store8 (i32.const 512) (i32.const 255))
            (i32.store (i32.const 12) (i32.const 256)) (i32.store (i32.const 16) (i32.const 1))
            (i32.store (i32.const 256) (i32.const 512)) (i32.store (i32.const 260) (i32.const 1))
            (return (i32.const 0))",
            ),
            "utf-8",
        )
        .await;
    }

    #[tokio::test]
    async fn a_case_that_does_not_exist() {
        refused(
            running("(i32.store8 (i32.const 0) (i32.const 2)) (return (i32.const 0))"),
            "discriminant",
        )
        .await;
    }

    #[tokio::test]
    async fn an_allocator_that_points_outside_memory() {
        let sandbox = sandbox();
        let condition = Condition {
            realloc: "(return (i32.const -16))",
            ..Condition::default()
        };
        let plugin = load(&sandbox, &condition).await;
        let failure = evaluate(&sandbox, &plugin).await.outcome.unwrap_err();
        assert_eq!(failure.code(), "malformed-answer");
    }

    #[tokio::test]
    async fn an_allocator_that_never_returns() {
        let failure = failure_of(Condition {
            realloc: ENDLESS,
            ..Condition::default()
        })
        .await;
        assert_eq!(failure.code(), "out-of-fuel");
    }
}

mod contract {
    //! Answers that the ABI allows and the contract does not.

    use super::*;

    fn reason(code: &str, message: &str) -> Reason {
        Reason {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    fn award(reward_id: &str, quantity: u32) -> Award {
        Award {
            reward_id: reward_id.to_owned(),
            quantity,
        }
    }

    fn awarding(awards: &[(&str, u32)]) -> Condition {
        deciding(|decision| {
            decision.awards = Awards::Chosen(awards.iter().map(|(id, quantity)| award(id, *quantity)).collect());
        })
    }

    #[tokio::test]
    async fn awards() {
        for (awards, expected) in [
            (&[("silver", 1)][..], "award \"silver\" is not a reward of this event"),
            (&[("gold", 1), ("gold", 1)], "award \"gold\" is there twice"),
            (&[("gold", 0)], "award \"gold\": quantity 0 must be within 1 to 2"),
            (&[("gold", 3)], "award \"gold\": quantity 3 must be within 1 to 2"),
            (
                &[("sold-out", 1)],
                "award \"sold-out\": quantity 1 must be within 1 to 0",
            ),
        ] {
            assert_eq!(failure_of(awarding(awards)).await, malformed(expected));
        }
    }

    #[tokio::test]
    async fn awards_of_a_decision_that_is_not_eligible_are_ignored() {
        let mut condition = awarding(&[("silver", 9)]);
        condition.decision.as_mut().unwrap().eligible = false;
        let sandbox = sandbox();
        let plugin = load(&sandbox, &condition).await;
        let decision = evaluate(&sandbox, &plugin).await.outcome.unwrap();
        assert_eq!(decision.awards, Awards::Chosen(Vec::new()));
    }

    #[tokio::test]
    async fn reasons() {
        for (reasons, expected) in [
            (vec![reason("enough", "Done."); 33], "33 reasons, the limit is 32"),
            (
                vec![reason("Not Kebab", "Done.")],
                "reason code \"Not Kebab\" must be kebab-case",
            ),
            (vec![reason("", "Done.")], "reason code \"\" must be kebab-case"),
            (
                vec![reason("long", &"x".repeat(1025))],
                "reason message has 1025 bytes, the limit is 1024",
            ),
            (
                vec![reason("nul", "a\0b")],
                "reason message \"a b\" has control characters",
            ),
            (
                vec![reason("sum", &"x".repeat(1000)); 17],
                "the decision has 17055 bytes of text, the limit is 16384",
            ),
        ] {
            let condition = deciding(|decision| decision.reasons = reasons);
            assert_eq!(failure_of(condition).await, malformed(expected));
        }
    }

    #[tokio::test]
    async fn progress() {
        let progress = |key: &str, current| Progress {
            key: key.to_owned(),
            current,
            target: 7,
        };
        for (progress, expected) in [
            (vec![progress("days", 1); 33], "33 progress entries, the limit is 32"),
            (
                vec![progress("all days", 1)],
                "progress key \"all days\" must be 1 to 64 of A-Z a-z 0-9 . _ -",
            ),
            (
                vec![progress("days", MAX_INTEGER + 1)],
                "progress 9007199254740992 of \"days\" is beyond 2^53 - 1",
            ),
            (
                vec![progress("days", i64::MIN)],
                "progress -9223372036854775808 of \"days\" is beyond 2^53 - 1",
            ),
        ] {
            let condition = deciding(|decision| decision.progress = progress);
            assert_eq!(failure_of(condition).await, malformed(expected));
        }
    }

    #[tokio::test]
    async fn an_instant_beyond_the_calendar() {
        // `retry-at` of a decision at 0.
        let evaluate = "(i32.store8 (i32.const 40) (i32.const 1)) (i64.store (i32.const 48) (i64.const -1))
            (i32.store8 (i32.const 55) (i32.const 0x7f)) (return (i32.const 0))";
        let failure = failure_of(Condition {
            evaluate,
            ..Condition::default()
        })
        .await;
        assert_eq!(
            failure,
            malformed("instant 9223372036854775807 lies outside the years 0001 to 9998")
        );
    }

    #[tokio::test]
    async fn queries() {
        let kind = |kind: &str| {
            let mut selection = logins(Window::AllTime);
            selection.kind = kind.to_owned();
            Query::Count(selection)
        };
        let filters = |count, attribute: &str, equals: &str| {
            let mut selection = logins(Window::AllTime);
            selection.filters[0].attribute = attribute.to_owned();
            selection.filters[0].equals = equals.to_owned();
            selection.filters = vec![selection.filters[0].clone(); count];
            Query::Sum(selection)
        };
        for (queries, expected) in [
            (vec![Query::Grants; 65], "65 queries, the limit is 64"),
            (vec![kind("")], "kind \"\" must be 1 to 64 of A-Z a-z 0-9 . _ -"),
            (
                vec![kind("auth login")],
                "kind \"auth login\" must be 1 to 64 of A-Z a-z 0-9 . _ -",
            ),
            (
                vec![Query::Attribute("레벨".to_owned())],
                "attribute \"레벨\" must be 1 to 64 of A-Z a-z 0-9 . _ -",
            ),
            (
                vec![Query::First(logins(Window::LastDays(0)))],
                "last-days(0) must be within 1 to 3660",
            ),
            (
                vec![Query::Last(logins(Window::LastDays(3661)))],
                "last-days(3661) must be within 1 to 3660",
            ),
            (vec![filters(17, "a", "b")], "17 filters, the limit is 16"),
            (
                vec![filters(1, "a b", "c")],
                "filter attribute \"a b\" must be 1 to 64 of A-Z a-z 0-9 . _ -",
            ),
            (
                vec![filters(1, "a", &"x".repeat(1025))],
                "filter value has 1025 bytes, the limit is 1024",
            ),
        ] {
            assert_eq!(bind(binding(queries)).await.outcome, Err(malformed(expected)));
        }
    }

    #[tokio::test]
    async fn state() {
        let state = vec![0; (64 << 10) + 1];
        let condition = Condition {
            binding: Ok(Binding {
                queries: Vec::new(),
                state,
            }),
            ..Condition::default()
        };
        assert_eq!(
            bind(condition).await.outcome,
            Err(malformed("state has 65537 bytes, the limit is 65536"))
        );
    }

    #[tokio::test]
    async fn issues() {
        let issue = |path: &str, message: &str| Issue {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        for (issues, expected) in [
            (vec![], "params were refused without an issue"),
            (vec![issue("", "bad"); 33], "33 issues, the limit is 32"),
            (vec![issue("days", "bad")], "issue path \"days\" is not a JSON Pointer"),
            (
                vec![issue("/days", &"x".repeat(1025))],
                "issue message has 1025 bytes, the limit is 1024",
            ),
        ] {
            let condition = Condition {
                binding: Err(issues),
                ..Condition::default()
            };
            assert_eq!(bind(condition).await.outcome, Err(malformed(expected)));
        }
    }
}

mod notes {
    use super::*;

    async fn noted(evaluate_text: &'static str) -> Call<Decision> {
        let sandbox = sandbox();
        let condition = Condition {
            imports: IMPORT_NOTE,
            evaluate: evaluate_text,
            spare_pages: 2,
            ..Condition::default()
        };
        let plugin = load(&sandbox, &condition).await;
        evaluate(&sandbox, &plugin).await
    }

    #[tokio::test]
    async fn a_note_arrives() {
        let call =
            noted(r"(i32.store (i32.const 0) (i32.const 0x65796221)) (call $note (i32.const 0) (i32.const 4))").await;
        assert_eq!(call.notes, ["!bye"]);
        assert!(call.outcome.is_ok());
    }

    #[tokio::test]
    async fn a_flood_is_cut_at_32_lines_and_changes_no_decision() {
        let call = noted(
            "(local $i i32)
            (loop $again
                (call $note (i32.const 0) (i32.const 9))
                (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))",
        )
        .await;
        assert_eq!(call.notes, vec![" ".repeat(9); 32]);
        assert!(call.outcome.is_ok());
    }

    #[tokio::test]
    async fn long_notes_are_cut_at_4_kib_together() {
        let call =
            noted("(call $note (i32.const 131072) (i32.const 1000)) (call $note (i32.const 131072) (i32.const 60000))")
                .await;
        assert_eq!(call.notes.iter().map(String::len).collect::<Vec<_>>(), [1000, 3096]);
    }

    #[tokio::test]
    async fn control_characters_become_spaces() {
        // "\e[2J", carriage return, line feed, NUL
        let call =
            noted("(i64.store (i32.const 0) (i64.const 0x0a0d4a325b1b)) (call $note (i32.const 0) (i32.const 7))")
                .await;
        assert_eq!(call.notes, [" [2J   "]);
    }

    #[tokio::test]
    async fn notes_of_a_failed_call_are_kept() {
        let call =
            noted("(i32.store8 (i32.const 0) (i32.const 88)) (call $note (i32.const 0) (i32.const 1)) unreachable")
                .await;
        assert_eq!(call.notes, ["X"]);
        assert_eq!(call.outcome.unwrap_err().code(), "trap");
    }

    #[tokio::test]
    async fn a_note_outside_memory_is_a_failure() {
        let call = noted("(call $note (i32.const 0) (i32.const -1))").await;
        assert!(call.outcome.is_err());
        assert_eq!(call.notes, Vec::<String>::new());
    }
}
