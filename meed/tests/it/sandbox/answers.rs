//! Answers that the canonical ABI allows but the contract forbids.

use meed_host::contract::{Award, Awards, Binding, Issue, MAX_INTEGER, Progress, Reason};
use meed_host::sandbox::Failure;

use super::{bind, deciding, evaluate, failure_of, load, sandbox};
use crate::guests::Condition;

fn malformed(text: &str) -> Failure {
    Failure::Malformed(text.to_owned())
}

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
async fn state() {
    let state = vec![0; (16 << 10) + 1];
    let condition = Condition {
        binding: Ok(Binding {
            queries: Vec::new(),
            state,
        }),
        ..Condition::default()
    };
    assert_eq!(
        bind(condition).await.outcome,
        Err(malformed("state has 16385 bytes, the limit is 16384"))
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
