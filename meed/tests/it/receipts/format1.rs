//! Receipts of format 1, as an earlier server wrote them, stay verifiable.

use meed_host::claims::{Proof, Replay, ReplayError, format1, replay};
use meed_host::sandbox::{Sandbox, Settings};
use serde_json::{Value, json};

const RECEIPT: &str = include_str!("format1/receipt.json");
const REVERSAL: &str = include_str!("format1/reversal.json");
const MODULE: &[u8] = include_bytes!("format1/first-come.wasm");

async fn replayed(receipt: &Value) -> Result<Replay, ReplayError> {
    let program = env!("CARGO_BIN_EXE_meed").into();
    let sandbox = Sandbox::new(&Settings::default(), program, None).expect("a sandbox");
    let proof = Proof::parse(receipt.to_string().as_bytes()).expect("a receipt");
    replay(&sandbox, &proof, Some(MODULE.to_vec()), None).await
}

#[tokio::test]
async fn its_signature_is_valid_and_its_decision_runs_again() {
    let receipt: Value = serde_json::from_str(RECEIPT).expect("JSON");
    assert_eq!(receipt["receipt"]["format"], "meed-receipt/1");
    // With another engine than that of its time, the re-run proves nothing; the signature still counts.
    let replay = replayed(&receipt).await.expect("a verdict");
    assert!(
        matches!(replay, Replay::Match { fuel: 1200 })
            || matches!(&replay, Replay::NotReplayable(why) if why.contains("wasmtime-48.0.8+meed-3")),
        "{replay:?}"
    );
    for (pointer, value) in [
        ("/receipt/sequence", json!(2)),
        ("/receipt/awards/0/quantity", json!(2)),
        ("/receipt/userId", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
    ] {
        let mut changed = receipt.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        let error = replayed(&changed).await.expect_err(pointer);
        assert!(error.to_string().contains("digest"), "{pointer}: {error}");
    }
    let mut changed = receipt.clone();
    changed["signature"]["keyId"] = json!("other");
    let error = replayed(&changed).await.expect_err("another key");
    assert!(error.to_string().contains("signature"), "{error}");
}

#[test]
fn the_signature_of_its_reversal_is_valid() {
    let reversal: format1::SignedReversal = serde_json::from_str(REVERSAL).expect("a reversal");
    reversal.verify(None).expect("a true reversal");
    let mut changed = reversal;
    changed.receipt.reason = "Another".to_owned();
    let error = changed.verify(None).expect_err("a forgery");
    assert!(error.to_string().contains("digest"), "{error}");
}

#[test]
fn the_executable_accepts_both() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).expect("a file");
    write("receipt.json", RECEIPT.as_bytes());
    write("reversal.json", REVERSAL.as_bytes());
    write("first-come.wasm", MODULE);
    for (arguments, expected) in [
        (
            &["replay", "receipt.json", "--plugin", "first-come.wasm"][..],
            [0, 3].as_slice(),
        ),
        (&["replay", "reversal.json"][..], &[0]),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_meed"))
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("the command starts");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("signature  good"), "{printed}");
        assert!(expected.contains(&output.status.code().expect("a code")), "{printed}");
    }
}
