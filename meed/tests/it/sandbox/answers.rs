//! Answers that the canonical ABI allows but the contract forbids.

use meed_host::contract::{Arguments, Award, Awards, Binding, Issue, MAX_INTEGER, Outcome, Progress, Reason};
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
        args: Arguments::new(),
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
    condition.decision.as_mut().unwrap().outcome = Outcome::NotEligible;
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
        (vec![with_args(17, "1")], "17 arguments of a reason, the limit is 16"),
        (
            vec![with_args(1, &"x".repeat(1025))],
            "argument value has 1025 bytes, the limit is 1024",
        ),
        (
            vec![Reason {
                args: [("not a name".to_owned(), String::new())].into(),
                ..reason("enough", "Done.")
            }],
            "argument name \"not a name\" must be 1 to 64 of A-Z a-z 0-9 . _ -",
        ),
        (
            vec![with_args(16, &"x".repeat(1024))],
            "the decision has 16415 bytes of text, the limit is 16384",
        ),
    ] {
        let condition = deciding(|decision| decision.reasons = reasons);
        assert_eq!(failure_of(condition).await, malformed(expected));
    }
}

/// A reason of 11 bytes with arguments `a` to `p`, and so on.
fn with_args(count: u8, value: &str) -> Reason {
    let args = (0..count).map(|index| (char::from(b'a' + index).to_string(), value.to_owned()));
    Reason {
        args: args.collect(),
        ..reason("enough", "Done.")
    }
}

#[tokio::test]
async fn arguments_arrive_by_name() {
    let condition = deciding(|decision| decision.reasons = vec![with_args(2, "7")]);
    let sandbox = sandbox();
    let plugin = load(&sandbox, &condition).await;
    let decision = evaluate(&sandbox, &plugin).await.outcome.unwrap();
    let expected = [("a", "7"), ("b", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(decision.reasons[0].args, Arguments::from(expected));
}

/// A review may approve them, so they are checked and kept.
#[tokio::test]
async fn awards_of_a_decision_that_needs_review_are_checked() {
    let reviewed = |awards| {
        let mut condition = awarding(awards);
        condition.decision.as_mut().unwrap().outcome = Outcome::NeedsReview;
        condition
    };
    let sandbox = sandbox();
    let plugin = load(&sandbox, &reviewed(&[("gold", 1)])).await;
    let decision = evaluate(&sandbox, &plugin).await.outcome.unwrap();
    assert_eq!(
        (decision.outcome, decision.awards),
        (Outcome::NeedsReview, Awards::Chosen(vec![award("gold", 1)]))
    );
    assert_eq!(
        failure_of(reviewed(&[("gold", 3)])).await,
        malformed("award \"gold\": quantity 3 must be within 1 to 2")
    );
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
