//! Signed uploads: `plugins.signatures`, the form field `signature` and the header `Meed-Signature`

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::auth::Role;
use minisign::KeyPair;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{path_of, upload_form};
use crate::support::{Reply, TestApp, assert_fault, each, guest, on_both_engines, text};

pub(crate) fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().expect("a key")
}

/// The text of a `.minisig` file.
pub(crate) fn signature(key: &KeyPair, module: &[u8], comment: &str) -> String {
    let signature = minisign::sign(Some(&key.pk), &key.sk, Cursor::new(module), Some(comment), None);
    signature.expect("a signature").to_string()
}

/// Trusts a key as an ADMIN, and returns its id.
pub(crate) async fn trust(app: &TestApp, key: &KeyPair, name: &str) -> String {
    let admin = app.token(Role::Admin).await;
    let body = json!({"name": name, "publicKey": key.pk.to_base64()});
    let key = app
        .post("/plugin-keys")
        .bearer(&admin)
        .json(&body)
        .send()
        .await
        .expect(201);
    text(&key, "keyId").to_owned()
}

async fn revoke(app: &TestApp, key_id: &str) {
    let admin = app.token(Role::Admin).await;
    let reply = app
        .delete(&format!("/plugin-keys/{key_id}"))
        .bearer(&admin)
        .send()
        .await;
    assert_eq!(reply.status, 204);
}

/// Uploads to a process with the token of another process.
async fn push(on: &TestApp, token: &str, module: &[u8], signature: Option<&str>) -> Reply {
    let mut call = on.post("/plugins").bearer(token);
    if let Some(signature) = signature {
        call = call.header("meed-signature", &STANDARD.encode(signature));
    }
    call.bytes("application/wasm", module.to_vec()).send().await
}

/// The result of an upload: the state of its signature, or the code of the problem.
async fn outcome(on: &TestApp, token: &str, module: &[u8], signature: Option<&str>) -> String {
    let reply = push(on, token, module, signature).await;
    if reply.status.is_success() {
        return text(&reply.json["signature"], "state").to_owned();
    }
    let code = text(&reply.json, "code").to_owned();
    reply.expect_problem(422, &code);
    code
}

#[apply(on_both_engines)]
async fn every_mode_with_every_kind_of_signature(app: TestApp) {
    let (trusted, revoked, stranger) = (key(), key(), key());
    trust(&app, &trusted, "Ada").await;
    let revoked_id = trust(&app, &revoked, "Bob").await;
    revoke(&app, &revoked_id).await;
    let operator = app.operator().await;
    let modes = vec![
        ("off", app.replica(&[])),
        ("warn", app.replica(&[("plugins.signatures", "warn")])),
        ("enforce", app.replica(&[("plugins.signatures", "enforce")])),
    ];
    for (mode, server) in &modes {
        let enforced = *mode == "enforce";
        // Each upload is a different plugin.
        let module = |kind: &str| guest(&format!("{kind}-{mode}")).module();
        let comment = |kind: &str| format!("name:{kind}-{mode} version:1.2.3");
        let expect = async |kind: &str, signature: Option<String>, accepted: &str, refused: &str| {
            let found = outcome(server, &operator, &module(kind), signature.as_deref()).await;
            assert_eq!(found, if enforced { refused } else { accepted }, "{kind} in {mode}");
            let there = app
                .get(&format!("/plugins/{kind}-{mode}"))
                .bearer(&operator)
                .send()
                .await
                .status
                == 200;
            assert_eq!(there, found == accepted, "{kind} in {mode}");
        };
        expect("none", None, "NONE", "signature-required").await;
        let of = |key: &KeyPair, kind: &str| Some(signature(key, &module(kind), &comment(kind)));
        expect("good", of(&trusted, "good"), "TRUSTED", "TRUSTED").await;
        expect(
            "stranger",
            of(&stranger, "stranger"),
            "UNTRUSTED",
            "signature-untrusted",
        )
        .await;
        expect("revoked", of(&revoked, "revoked"), "REVOKED", "signature-untrusted").await;
        let bytes = signature(&trusted, &module("good"), &comment("bytes"));
        expect("bytes", Some(bytes), "UNTRUSTED", "signature-invalid").await;
        let elsewhere = signature(&trusted, &module("elsewhere"), "name:good version:1.2.3");
        expect("elsewhere", Some(elsewhere), "UNTRUSTED", "signature-invalid").await;
        let version = signature(
            &trusted,
            &module("version"),
            &format!("name:version-{mode} version:1.2.4"),
        );
        expect("version", Some(version), "UNTRUSTED", "signature-invalid").await;
        let moved = of(&trusted, "moved").map(|text| text.replace("version:1.2.3", "version:1.2.3 "));
        expect(
            "moved",
            moved.map(|text| text.replace("name:", "name: ")),
            "UNTRUSTED",
            "signature-invalid",
        )
        .await;
        // A malformed signature is refused in every mode.
        for text in [
            "",
            "untrusted comment: x\nAAAA\ntrusted comment: y\nAAAA\n",
            &"x".repeat(5000),
        ] {
            assert_eq!(
                outcome(server, &operator, &module("noise"), Some(text)).await,
                "signature-invalid",
                "{mode}"
            );
        }
    }
    let bad_header = app
        .post("/plugins")
        .bearer(&operator)
        .header("meed-signature", "!")
        .bytes("application/wasm", vec![])
        .send()
        .await;
    bad_header.expect_problem(422, "signature-invalid");
}

#[apply(on_both_engines)]
async fn a_signature_is_checked_before_anything_is_compiled(app: TestApp) {
    let server = app.replica(&[("plugins.signatures", "enforce")]);
    let operator = app.operator().await;
    // The body is not a module, but the error is about the signature.
    assert_eq!(
        outcome(&server, &operator, b"no module", None).await,
        "signature-required"
    );
    let stranger = signature(&key(), b"no module", "name:x version:1.0.0");
    assert_eq!(
        outcome(&server, &operator, b"no module", Some(&stranger)).await,
        "signature-untrusted"
    );
    // Bundled plugins need no signature.
    let bundled = server.install(guest("bundled").module()).await;
    let body = app.event_body(&bundled, json!({}), json!({})).await;
    server
        .post("/events")
        .bearer(&operator)
        .json(&body)
        .send()
        .await
        .expect(201);
}

#[apply(on_both_engines)]
async fn a_signature_in_a_form_is_shown_with_the_version(app: TestApp) {
    let ada = key();
    let key_id = trust(&app, &ada, "Ada").await;
    let module = guest("signed").module();
    let text_of = signature(&ada, &module, "timestamp:1 name:signed version:1.2.3");
    let version = upload_form(&app, &[("signature", text_of.as_bytes()), ("module", &module)])
        .await
        .expect(201);
    assert_eq!(
        version["signature"],
        json!({"state": "TRUSTED", "keyId": key_id, "signer": "Ada"})
    );
    assert_eq!(app.read(&path_of(&version)).await, version);
    assert_eq!(app.read("/plugins").await["items"][0], version);
    let history = app.read(&format!("{}/history", path_of(&version))).await;
    assert_eq!(each(&history["items"], "action"), ["SIGNED", "UPLOADED"]);
    assert!(text(&history["items"][0], "detail").contains(&key_id), "{history:#}");
}

#[apply(on_both_engines)]
async fn known_bytes_with_a_better_signature_update_it(app: TestApp) {
    let (ada, bob) = (key(), key());
    let module = guest("later").module();
    let operator = app.operator().await;
    let comment = "name:later version:1.2.3";
    let signed = |key: &KeyPair| signature(key, &module, comment);
    let version = push(&app, &operator, &module, None).await.expect(201);
    let state = async |signature: Option<&str>| {
        let version = push(&app, &operator, &module, signature).await.expect(200);
        (
            text(&version["signature"], "state").to_owned(),
            version["signature"]["signer"].clone(),
        )
    };
    let is = |state: &str, signer: Value| (state.to_owned(), signer);
    // First with an unknown key; then the key is trusted and the signature sent again.
    assert_eq!(state(Some(&signed(&ada))).await, is("UNTRUSTED", Value::Null));
    let ada_id = trust(&app, &ada, "Ada").await;
    assert_eq!(state(None).await, is("UNTRUSTED", Value::Null));
    assert_eq!(state(Some(&signed(&ada))).await, is("TRUSTED", json!("Ada")));
    // A valid signature is not replaced.
    trust(&app, &bob, "Bob").await;
    assert_eq!(state(Some(&signed(&bob))).await, is("TRUSTED", json!("Ada")));
    assert_eq!(state(Some(&signed(&key()))).await, is("TRUSTED", json!("Ada")));
    // Until its key is revoked.
    revoke(&app, &ada_id).await;
    assert_eq!(state(Some(&signed(&ada))).await, is("REVOKED", json!("Ada")));
    assert_eq!(state(Some(&signed(&bob))).await, is("TRUSTED", json!("Bob")));
    let history = app.read(&format!("{}/history", path_of(&version))).await;
    assert_eq!(
        each(&history["items"], "action"),
        ["SIGNED", "SIGNED", "SIGNED", "UPLOADED"]
    );
}

#[apply(on_both_engines)]
async fn events_require_a_signature_and_continue_after_a_revocation(app: TestApp) {
    let ada = key();
    let key_id = trust(&app, &ada, "Ada").await;
    let server = app.replica(&[("plugins.signatures", "enforce")]);
    let operator = app.operator().await;
    let unsigned = guest("unsigned").module();
    app.upload(unsigned.clone()).await.expect(201);
    let body = app.event_body_of("unsigned", "1.2.3").await;
    assert_fault(
        server.post("/events").bearer(&operator).json(&body).send().await,
        "/condition/version",
    );
    // Uploading the same bytes again does not help.
    push(&server, &operator, &unsigned, None)
        .await
        .expect_problem(422, "signature-required");
    let signed = signature(&ada, &unsigned, "name:unsigned version:1.2.3");
    push(&server, &operator, &unsigned, Some(&signed)).await.expect(200);
    push(&server, &operator, &unsigned, None).await.expect(200);
    let event = server
        .post("/events")
        .bearer(&operator)
        .json(&body)
        .send()
        .await
        .expect(201);

    let receipt = async |user: &str| {
        let claim = server.claim(user, &event).send().await.expect(201);
        assert_eq!(claim["status"], "GRANTED");
        app.read(&format!("/reward-requests/{}/receipt", text(&claim, "id")))
            .await
    };
    let (first, second) = (app.user(Role::User).await, app.user(Role::User).await);
    let named = receipt(&first.token).await;
    assert_eq!(
        named["terms"]["plugin"]["signer"],
        json!({"keyId": key_id, "name": "Ada"})
    );
    let replayed = meed_host::claims::replay(
        &app.app.sandbox,
        &meed_host::claims::Proof::parse(named.to_string().as_bytes()).expect("a receipt"),
        Some(unsigned.clone()),
        None,
    )
    .await;
    assert!(
        matches!(replayed, Ok(meed_host::claims::Replay::Match { .. })),
        "{replayed:?}"
    );

    let admin = app.token(Role::Admin).await;
    assert_eq!(
        server
            .delete(&format!("/plugin-keys/{key_id}"))
            .bearer(&admin)
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        app.read("/plugins/unsigned/versions/1.2.3").await["signature"],
        json!({"state": "REVOKED", "keyId": key_id, "signer": "Ada"})
    );
    assert_fault(
        server.post("/events").bearer(&operator).json(&body).send().await,
        "/condition/version",
    );
    let unnamed = receipt(&second.token).await;
    assert_eq!(unnamed["terms"]["plugin"].get("signer"), None);
}
