//! The hostile corpus: malicious modules. The first line of each states the expected outcome.
//!
//! None of them may ever be admitted and return an answer. The modules are in `tests/guests/hostile`; the bombs
//! are generated, in `bombs.rs`.

mod load;
mod steady;

use std::collections::BTreeSet;

use meed_host::contract::{Fact, Outcome};
use meed_host::sandbox::{Call, Failure, Plugin, Sandbox, UploadRefusal};

use self::load::{Entry, Fate, Hostile, class, classes};
use super::{context, sandbox, sandbox_with};
use crate::bombs::{self, Bomb};
use crate::guests::Condition;

/// The class, and the minimum number of its modules.
const CLASSES: [(&str, usize); 10] = [
    ("malformed", 8),
    ("imports", 8),
    ("start", 6),
    ("cpu", 8),
    ("memory", 6),
    ("abi", 10),
    ("floods", 6),
    ("nondeterminism", 4),
    ("proposals", 8),
    ("components", 8),
];

#[test]
fn every_file_belongs_to_a_class_that_is_run() {
    let run: BTreeSet<_> = CLASSES.iter().map(|(class, _)| (*class).to_owned()).collect();
    assert_eq!(classes(), run);
    for (name, least) in CLASSES {
        let found = class(name).len();
        assert!(found >= least, "{name} has {found} modules");
    }
}

/// Declares the test of each class.
macro_rules! contained {
    ($($class:ident)*) => {$(
        #[tokio::test]
        async fn $class() {
            run(stringify!($class)).await;
        }
    )*};
}

contained! { malformed imports start cpu memory abi floods nondeterminism proposals components }

async fn run(name: &str) {
    let sandbox = sandbox();
    let mut wrong = Vec::new();
    for hostile in class(name) {
        if let Err(found) = meets(&sandbox, &hostile).await {
            wrong.push(format!("{}: {:?}, but {found}", hostile.name, hostile.fate));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The sandbox still works for other plugins.
    let admitted = sandbox.admit(Condition::default().module()).await.unwrap();
    assert!(
        super::evaluate(&sandbox, &admitted.plugin)
            .await
            .outcome
            .unwrap()
            .outcome
            == Outcome::Eligible
    );
}

/// Whether a module has the expected outcome; otherwise the actual one.
async fn meets(sandbox: &Sandbox, hostile: &Hostile) -> Result<(), String> {
    let admitted = sandbox.admit(hostile.module.clone()).await;
    match (&hostile.fate, admitted) {
        (Fate::Refused { code, says }, Err(refusal)) => {
            let text = refusal.to_string();
            expect(refusal.code() == code && text.contains(says.as_str()), || {
                format!("{}: {text}", refusal.code())
            })
        }
        (
            Fate::Fails {
                code,
                entry: Entry::Describe,
            },
            Err(UploadRefusal::Describe(failure)),
        ) => failed(code, &failure),
        // Its answer violates the contract.
        (
            Fate::Fails {
                code,
                entry: Entry::Describe,
            },
            Err(UploadRefusal::Manifest(_)),
        ) if code == "malformed-answer" => Ok(()),
        (_, Err(refusal)) => Err(format!("refused as {}: {refusal}", refusal.code())),
        (Fate::Fails { code, entry }, Ok(admitted)) => {
            let plugin = &admitted.plugin;
            // Twice: a deterministic failure has the same code and fuel.
            let (first, second) = (
                fail(sandbox, plugin, *entry).await?,
                fail(sandbox, plugin, *entry).await?,
            );
            failed(code, &first.0)?;
            expect(!first.0.is_deterministic() || first == second, || {
                format!("{first:?} and then {second:?}")
            })
        }
        (Fate::Refused { .. }, Ok(admitted)) => Err(format!("admitted as {}", admitted.digest)),
    }
}

fn expect(holds: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found()) }
}

fn failed(code: &str, failure: &Failure) -> Result<(), String> {
    expect(failure.code() == code, || format!("{}: {failure}", failure.code()))
}

/// The failure of an entry point, and the fuel used until then.
async fn fail(sandbox: &Sandbox, plugin: &Plugin, entry: Entry) -> Result<(Failure, u64), String> {
    match entry {
        Entry::Describe => Err("it described itself".to_owned()),
        Entry::Bind => failure(sandbox.bind(plugin, r#"{"days":7}"#).await),
        Entry::Evaluate => {
            let facts = [Fact::Integer(5), Fact::Text("gold".to_owned())];
            failure(sandbox.evaluate(plugin, &context(), &[7], &facts).await)
        }
    }
}

fn failure<T: std::fmt::Debug>(call: Call<T>) -> Result<(Failure, u64), String> {
    let bytes: usize = call.notes.iter().map(String::len).sum();
    let clean = !call.notes.iter().any(|note| note.contains(char::is_control));
    expect(call.notes.len() <= 32 && bytes <= 4096 && clean, || {
        format!("it left {} notes of {bytes} bytes: {:?}", call.notes.len(), call.notes)
    })?;
    match call.outcome {
        Err(failure) => Ok((failure, call.fuel)),
        Ok(answer) => Err(format!("it answered {answer:?}")),
    }
}

/// With one second of processor time, so that the test is short.
#[tokio::test]
async fn bombs() {
    let sandbox = sandbox_with(|settings| settings.standard.compile.cpu_seconds = 1);
    let mut wrong = Vec::new();
    for Bomb { name, module, passes } in bombs::all() {
        let outcome = sandbox.admit(module).await;
        let code = outcome.as_ref().map_or_else(UploadRefusal::code, |_| "admitted");
        let expected: &[&str] = if passes {
            // A fast machine may compile a bomb within the limits; then it is a valid plugin.
            &["compile-limit", "admitted"]
        } else {
            &["structure-limit"]
        };
        if !expected.contains(&code) {
            wrong.push(format!("{name}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sandbox.admit(Condition::default().module()).await.unwrap();
}
