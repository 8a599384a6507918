//! A plan as people read it.

use std::fmt::Write as _;

use serde_json::Value;

use super::plan::{Action, Change, Plan};

/// The longest value that is shown whole.
const LONGEST: usize = 120;

/// The plan as text, in colours for a terminal.
pub(super) fn text(plan: &Plan, is_terminal: bool) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        show(&mut text, change, is_terminal);
    }
    for note in &plan.notes {
        line(&mut text, &format!("Note: {note}."));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    for fault in &plan.faults {
        line(&mut text, &format!("Error: {fault}."));
    }
    text + &summary(plan)
}

fn show(text: &mut String, change: &Change, is_terminal: bool) {
    let (sign, colour) = match change.action {
        Action::Create => ('+', "32"),
        Action::Update => ('~', "33"),
        Action::Adopt => ('=', "36"),
        Action::Delete => ('-', "31"),
    };
    let mut head = format!("{sign} {} {:?}", change.kind.noun(), change.name);
    if change.action == Action::Adopt {
        head += " is managed by files from now on";
    }
    if let Some(note) = change.note {
        let _ = write!(head, " ({note})");
    }
    if is_terminal {
        head = format!("\u{1b}[{colour}m{head}\u{1b}[0m");
    }
    line(text, &head);
    if let Some(refused) = &change.refused {
        line(text, &format!("    REFUSED: {refused}"));
    }
    // A deleted object is named, not listed.
    if change.action == Action::Delete {
        return;
    }
    let width = change
        .fields
        .iter()
        .map(|field| field.path.len())
        .max()
        .unwrap_or_default();
    for field in &change.fields {
        let path = &field.path;
        let value = match (change.action, &field.new) {
            (Action::Create, Some(new)) => shown(new),
            (_, new) => format!("{} → {}", or_default(field.old.as_ref()), or_default(new.as_ref())),
        };
        line(text, &format!("    {path:width$}  {value}"));
    }
}

fn summary(plan: &Plan) -> String {
    let count = |action: Action| plan.changes.iter().filter(|change| change.action == action).count();
    let refused = plan.changes.iter().filter(|change| change.refused.is_some()).count();
    let counts = [
        (count(Action::Create), "to create"),
        (count(Action::Update), "to change"),
        (count(Action::Adopt), "to manage"),
        (count(Action::Delete), "to delete"),
        (refused, "of them refused"),
        (
            plan.faults.len(),
            if plan.faults.len() == 1 { "error" } else { "errors" },
        ),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if counts.is_empty() {
        "No changes. The server is as the files want it.\n".to_owned()
    } else {
        format!("Plan: {}.\n", counts.join(", "))
    }
}

fn or_default(value: Option<&Value>) -> String {
    value.map_or_else(|| "unset".to_owned(), shown)
}

/// A value on one line. Rust's form of a text escapes what would change the look of a terminal.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}… ({} bytes)", text.len())
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
