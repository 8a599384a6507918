//! What an outsider gets and verifies

use std::process::Command;

use meed_host::auth::Role;
use meed_host::keys::PublicKey;
use meed_host::transparency::{ConsistencyProof, InclusionProof, ProofError};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{append, checkpoint, history, newest, verify};
use crate::support::{TestApp, on_both_engines, text};

async fn keys(app: &TestApp) -> (String, Vec<PublicKey>) {
    let reply = app.get("/.well-known/receipt-keys.json").send().await;
    let text = String::from_utf8(reply.bytes).expect("text");
    let keys = PublicKey::of_jwks(&text).expect("keys");
    (text, keys)
}

#[apply(on_both_engines)]
async fn a_receipt_is_in_the_log_of_a_signed_checkpoint(app: TestApp) {
    let history = history(&app).await;
    let token = app.log_in(&history.user).await;
    let path = format!("/reward-requests/{}", text(&history.granted, "id"));
    let reply = app.get(&format!("{path}/inclusion")).bearer(&token).send().await;
    reply.expect_problem(409, "not-logged-yet");
    append(&app).await;
    let proof = app
        .get(&format!("{path}/inclusion"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let receipt = app
        .get(&format!("{path}/receipt"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(
        (&proof["leaf"]["kind"], &proof["leaf"]["id"], &proof["leaf"]["document"]),
        (&json!("claim-granted"), &history.granted["id"], &receipt["digest"])
    );
    let (_, keys) = keys(&app).await;
    let good: InclusionProof = serde_json::from_value(proof.clone()).expect("a proof");
    assert_eq!(
        good.verify(&keys).expect("a good proof"),
        checkpoint(&newest(&app).await)
    );
    let size = checkpoint(&newest(&app).await).size;
    for (member, value) in [
        ("/leaf/kind", json!("claim-refused")),
        ("/leaf/content", receipt["digest"].clone()),
        ("/leaf/document", Value::Null),
        ("/position", json!(good.position + 1)),
        ("/path/0", json!("00".repeat(32))),
        ("/path", json!([])),
    ] {
        let mut forged = proof.clone();
        *forged.pointer_mut(member).expect("a member") = value;
        let forged: InclusionProof = serde_json::from_value(forged).expect("a proof");
        assert_eq!(forged.verify(&keys), Err(ProofError::NotIncluded(size)), "{member}");
    }
    let stranger = app.token(Role::User).await;
    for path in [format!("{path}/inclusion"), format!("{path}/reversal/inclusion")] {
        let reply = app.get(&path).bearer(&stranger).send().await;
        reply.expect_problem(404, "no-such-reward-request");
    }
    let reply = app
        .get(&format!("{path}/reversal/inclusion"))
        .bearer(&token)
        .send()
        .await;
    reply.expect_problem(404, "no-such-reversal");
    let reversal = format!("/reward-requests/{}/reversal", text(&history.reversed, "id"));
    let proof = app.read(&format!("{reversal}/inclusion")).await;
    let receipt = app.read(&format!("{reversal}/receipt")).await;
    assert_eq!(
        (&proof["leaf"]["kind"], &proof["leaf"]["document"]),
        (&json!("reversal"), &receipt["digest"])
    );
}

#[apply(on_both_engines)]
async fn checkpoints_are_listed_and_each_is_the_beginning_of_the_next(app: TestApp) {
    let mut sizes = Vec::new();
    for minute in 1..=5 {
        app.at(&format!("2026-03-01T13:0{minute}:00Z"));
        app.reward(json!({"type": "POINT"})).await;
        append(&app).await;
        sizes.push(checkpoint(&newest(&app).await).size);
    }
    let user = app.token(Role::User).await;
    let list = app
        .get("/audit/checkpoints?pageSize=3")
        .bearer(&user)
        .send()
        .await
        .expect(200);
    let next = format!(
        "/audit/checkpoints?pageSize=3&pageToken={}",
        text(&list, "nextPageToken")
    );
    let rest = app.get(&next).bearer(&user).send().await.expect(200);
    let listed = [&list, &rest]
        .into_iter()
        .flat_map(|page| page["items"].as_array().expect("items"));
    let listed: Vec<u64> = listed.filter_map(|item| item["size"].as_u64()).collect();
    sizes.reverse();
    assert_eq!(listed, sizes);

    let (_, keys) = keys(&app).await;
    for (newer, older) in sizes.iter().zip(&sizes[1..]) {
        let old = app.read(&format!("/audit/checkpoints/{older}")).await;
        let path = format!("/audit/checkpoints/{newer}/consistency?from={older}");
        let proof = app.get(&path).bearer(&user).send().await.expect(200);
        let proof: ConsistencyProof = serde_json::from_value(proof).expect("a proof");
        let (old, new) = (
            checkpoint(&old),
            checkpoint(&app.read(&format!("/audit/checkpoints/{newer}")).await),
        );
        assert_eq!(proof.verify(&old, &keys), Ok(new));
        let mut other = old.clone();
        other.root[0] ^= 1;
        assert_eq!(proof.verify(&other, &keys), Err(ProofError::Rewritten(*older, *newer)));
        let mut other = old.clone();
        other.size += 1;
        assert_eq!(
            proof.verify(&other, &keys),
            Err(ProofError::OtherSize(*older, older + 1))
        );
    }
    for (path, status, code) in [
        ("/audit/checkpoints/1000000".to_owned(), 404, "no-such-checkpoint"),
        (
            format!("/audit/checkpoints/{}/consistency?from=0", sizes[0]),
            400,
            "invalid-parameter",
        ),
        (
            format!("/audit/checkpoints/{}/consistency?from=1000000", sizes[0]),
            400,
            "invalid-parameter",
        ),
        (
            format!("/audit/checkpoints/{}/consistency", sizes[0]),
            400,
            "invalid-parameter",
        ),
        ("/audit/checkpoints/-1".to_owned(), 400, "invalid-parameter"),
    ] {
        let reply = app.get(&path).bearer(&user).send().await;
        reply.expect_problem(status, code);
    }
    app.get("/audit/checkpoints")
        .send()
        .await
        .expect_problem(401, "unauthenticated");
}

/// The exit code of `meed audit …`, and what it printed.
fn audit(app: &TestApp, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meed"));
    command.env("MEED__DATABASE__URL", app.database_url());
    command.env("MEED__KEYS__DIRECTORY", app.keys_directory());
    let output = command.arg("audit").args(arguments).output().expect("meed runs");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("a code"),
        String::from_utf8(printed).expect("text"),
    )
}

#[apply(on_both_engines)]
async fn the_command_line_verifies_databases_and_proofs(app: TestApp) {
    let history = history(&app).await;
    append(&app).await;
    let older = newest(&app).await;
    let file = |name: &str| app.directory().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(file(name), text).expect("a file");
    write("older.txt", text(&older, "checkpoint"));
    write("keys.json", &keys(&app).await.0);
    app.at("2026-03-01T13:00:00Z");
    app.reward(json!({"type": "POINT"})).await;
    append(&app).await;
    let newer = newest(&app).await;

    let path = format!("/reward-requests/{}", text(&history.granted, "id"));
    write(
        "inclusion.json",
        &app.read(&format!("{path}/inclusion")).await.to_string(),
    );
    write("receipt.json", &app.read(&format!("{path}/receipt")).await.to_string());
    let reversal = format!("/reward-requests/{}/reversal/receipt", text(&history.reversed, "id"));
    write("other.json", &app.read(&reversal).await.to_string());
    let path = format!(
        "/audit/checkpoints/{}/consistency?from={}",
        newer["size"], older["size"]
    );
    let consistency = app.read(&path).await;
    write("consistency.json", &consistency.to_string());
    let mut rewritten = consistency.clone();
    rewritten["proof"][0] = json!("00".repeat(32));
    write("rewritten.json", &rewritten.to_string());
    write("no-keys.json", r#"{"keys": []}"#);

    let (keys, older) = (file("keys.json"), file("older.txt"));
    let check = |proof: &str, more: &[&str]| {
        let proof = file(proof);
        let arguments = [&["check", &proof, "--keys", &keys], more].concat();
        audit(&app, &arguments)
    };
    for (proof, more, code, said) in [
        ("inclusion.json", vec![], 0, "INCLUDED"),
        (
            "inclusion.json",
            vec!["--receipt", "receipt.json"],
            0,
            "INCLUDED    the receipt sha256:",
        ),
        ("inclusion.json", vec!["--receipt", "other.json"], 1, "DIFFERS"),
        ("consistency.json", vec!["--checkpoint", "older.txt"], 0, "CONSISTENT"),
        ("consistency.json", vec![], 1, "pass the older checkpoint"),
        (
            "rewritten.json",
            vec!["--checkpoint", "older.txt"],
            1,
            "the history was rewritten",
        ),
        ("receipt.json", vec![], 1, "is not a proof"),
    ] {
        let files: Vec<String> = more
            .iter()
            .map(|word| {
                if word.starts_with('-') {
                    (*word).to_owned()
                } else {
                    file(word)
                }
            })
            .collect();
        let (is, printed) = check(proof, &files.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(is == code && printed.contains(said), "{proof} {more:?}: {is} {printed}");
    }
    let (code, printed) = audit(
        &app,
        &["check", &file("inclusion.json"), "--keys", &file("no-keys.json")],
    );
    assert!(code == 1 && printed.contains("no trusted key signed"), "{printed}");

    let (code, printed) = audit(&app, &["verify", "--checkpoint", &older]);
    assert!(code == 0 && printed.contains("GOOD"), "{printed}");
    let report = verify(&app, None).await;
    assert!(printed.contains(&format!("Log: {} leaves", report.leaves)), "{printed}");
    let mut tx = app.begin().await;
    let edit = tx.query("UPDATE audit_log SET action = 'GET /audit' WHERE action = 'POST /rewards'");
    assert!(edit.execute(&mut tx).await.expect("an edit") > 0);
    tx.commit().await.expect("a commit");
    let (code, printed) = audit(&app, &["verify"]);
    assert!(
        code == 1 && printed.contains("the row was changed") && printed.contains("TAMPERED"),
        "{printed}"
    );
}
