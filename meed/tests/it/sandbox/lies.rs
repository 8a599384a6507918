//! Answers that the canonical ABI does not allow.

use meed_host::sandbox::Failure;

use super::{evaluate, failure_of, load, sandbox};
use crate::guests::{Condition, ENDLESS};

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
        running("(i32.store (i32.const 16) (i32.const 5400)) (return (i32.const 0))"),
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
            (local.set $at (i32.add (local.get $at) (i32.const 24)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 155072))))
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
