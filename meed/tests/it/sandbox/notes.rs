//! Notes that a plugin logs for its author.

use meed_host::contract::Decision;
use meed_host::sandbox::Call;

use super::{load, sandbox};
use crate::guests::{Condition, IMPORT_NOTE};

async fn noted(evaluate_text: &'static str) -> Call<Decision> {
    let sandbox = sandbox();
    let condition = Condition {
        imports: IMPORT_NOTE,
        evaluate: evaluate_text,
        spare_pages: 2,
        ..Condition::default()
    };
    let plugin = load(&sandbox, &condition).await;
    super::evaluate(&sandbox, &plugin).await
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
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))",
    )
    .await;
    assert_eq!(call.notes, vec![" ".repeat(9); 32]);
    assert!(call.outcome.is_ok());
}

#[tokio::test]
async fn every_note_costs_the_same_fuel_whether_stored_or_not() {
    let once = noted("(call $note (i32.const 0) (i32.const 9))").await.fuel;
    let (few, many) = (20, 200);
    let mut fuel = Vec::new();
    for notes in [few, many] {
        let text = "(call $note (i32.const 0) (i32.const 9))".repeat(notes).leak();
        fuel.push(noted(text).await.fuel);
    }
    assert!(once > 200);
    let each = (fuel[1] - fuel[0]) / (many - few) as u64;
    assert!((200..220).contains(&each), "{each}");
    assert_eq!(each * (many - few) as u64, fuel[1] - fuel[0]);
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
        noted("(i64.store (i32.const 0) (i64.const 0x0a0d4a325b1b)) (call $note (i32.const 0) (i32.const 7))").await;
    assert_eq!(call.notes, [" [2J   "]);
}

#[tokio::test]
async fn notes_of_a_failed_call_are_kept() {
    let call =
        noted("(i32.store8 (i32.const 0) (i32.const 88)) (call $note (i32.const 0) (i32.const 1)) unreachable").await;
    assert_eq!(call.notes, ["X"]);
    assert_eq!(call.outcome.unwrap_err().code(), "trap");
}

#[tokio::test]
async fn a_note_outside_memory_is_a_failure() {
    let call = noted("(call $note (i32.const 0) (i32.const -1))").await;
    assert!(call.outcome.is_err());
    assert_eq!(call.notes, Vec::<String>::new());
}
