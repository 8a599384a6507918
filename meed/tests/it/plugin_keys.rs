//! `/plugin-keys`

use meed_host::auth::Role;
use minisign::KeyPair;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, assert_fault, each, on_both_engines, text};

fn public() -> (String, String) {
    let key = KeyPair::generate_unencrypted_keypair().expect("a key").pk;
    (key.to_base64(), key.to_box().expect("a file").to_string())
}

#[apply(on_both_engines)]
async fn a_key_is_trusted_listed_and_revoked(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let (line, file) = public();
    let body = json!({"name": "Ada's release key", "publicKey": file});
    let reply = app.post("/plugin-keys").bearer(&admin.token).json(&body).send().await;
    let location = reply.header("location").to_owned();
    let key = reply.expect(201);
    assert_eq!(location, format!("/plugin-keys/{}", text(&key, "keyId")));
    assert_eq!(
        key,
        json!({
            "keyId": key["keyId"], "name": "Ada's release key", "publicKey": line,
            "addedBy": admin.id, "addedAt": "2026-03-01T12:00:00.000Z", "revokedBy": null, "revokedAt": null,
        })
    );
    let get = async |path: &str| app.get(path).bearer(&admin.token).send().await;
    assert_eq!(get(&location).await.expect(200), key);
    // As minisign prints it: without leading zeros, in upper or lower case.
    let short = location
        .replace("/plugin-keys/", "")
        .trim_start_matches('0')
        .to_lowercase();
    assert_eq!(get(&format!("/plugin-keys/{short}")).await.expect(200), key);
    app.post("/plugin-keys")
        .bearer(&admin.token)
        .json(&body)
        .send()
        .await
        .expect_problem(409, "plugin-key-taken");

    app.at("2026-03-01T12:05:00Z");
    let token = app.log_in(&admin).await;
    let (other, _) = public();
    let body = json!({"name": "Bob", "publicKey": other});
    app.post("/plugin-keys")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(201);
    let list = async || app.get("/plugin-keys").bearer(&token).send().await.expect(200);
    assert_eq!(each(&list().await["items"], "name"), ["Bob", "Ada's release key"]);

    for _ in 0..2 {
        assert_eq!(app.delete(&location).bearer(&token).send().await.status, 204);
        app.at("2026-03-01T12:06:00Z");
    }
    let revoked = list().await["items"][1].clone();
    assert_eq!(
        (text(&revoked, "revokedAt"), text(&revoked, "revokedBy")),
        ("2026-03-01T12:05:00.000Z", admin.id.as_str())
    );
    let again = json!({"name": "Ada", "publicKey": line});
    app.post("/plugin-keys")
        .bearer(&token)
        .json(&again)
        .send()
        .await
        .expect_problem(409, "plugin-key-taken");
}

#[apply(on_both_engines)]
async fn an_invalid_key_is_rejected(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let post = async |body: Value| app.post("/plugin-keys").bearer(&admin).json(&body).send().await;
    let (line, _) = public();
    let flipped = line.replacen("RW", "RX", 1);
    for public_key in ["RW", "RWQ", &flipped, &line[..55], &format!("{line}="), &"!".repeat(56)] {
        assert_fault(
            post(json!({"name": "Ada", "publicKey": public_key})).await,
            "/publicKey",
        );
    }
    assert_fault(post(json!({"name": "", "publicKey": line})).await, "/name");
    assert_fault(post(json!({"name": "x".repeat(101), "publicKey": line})).await, "/name");
    for path in ["/plugin-keys/0123456789ABCDEF", "/plugin-keys/x"] {
        app.get(path)
            .bearer(&admin)
            .send()
            .await
            .expect_problem(404, "no-such-plugin-key");
        app.delete(path)
            .bearer(&admin)
            .send()
            .await
            .expect_problem(404, "no-such-plugin-key");
    }
    assert_eq!(
        app.get("/plugin-keys").bearer(&admin).send().await.expect(200)["items"],
        json!([])
    );
}
