//! `/plugins`

mod bombs;
mod gate;
mod lifecycle;
pub(crate) mod signatures;
mod simulate;
mod usage;

use meed_host::auth::Role;
use meed_host::sandbox::Digest;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::{Condition, ENDLESS};
use crate::support::{Reply, TestApp, bundled, each, guest, on_both_engines, padded, text};

/// The path of a version, from the response of an upload.
fn path_of(version: &Value) -> String {
    format!(
        "/plugins/{}/versions/{}",
        text(version, "name"),
        text(version, "version")
    )
}

/// A multipart form with these fields.
async fn upload_form(app: &TestApp, fields: &[(&str, &[u8])]) -> Reply {
    let mut form = Vec::new();
    for (name, content) in fields {
        let head = format!(
            "--frame\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"rule.wasm\"\r\n\
             Content-Type: application/wasm\r\n\r\n"
        );
        form.extend(head.as_bytes());
        form.extend(*content);
        form.extend(b"\r\n");
    }
    form.extend(b"--frame--\r\n");
    let token = app.operator().await;
    let call = app.post("/plugins").bearer(&token);
    call.bytes("multipart/form-data; boundary=frame", form).send().await
}

async fn set_state(app: &TestApp, path: &str, body: Value, token: &str) -> Reply {
    app.patch(path).bearer(token).json(&body).send().await
}

#[apply(on_both_engines)]
async fn an_upload_is_described_and_the_same_bytes_are_the_same_version(app: TestApp) {
    let module = bundled("login-streak");
    let reply = app.upload(module.clone()).await;
    let location = reply.header("location").to_owned();
    let version = reply.expect(201);
    assert_eq!(text(&version, "name"), "login-streak");
    assert_eq!(location, path_of(&version));
    assert_eq!(text(&version, "digest"), Digest::of(&module).to_string());
    assert_eq!(text(&version, "title"), "Login streak");
    assert_eq!(
        (text(&version, "abi"), text(&version, "state")),
        ("meed:condition/condition@1.0.0", "ACTIVE")
    );
    assert_eq!(version["sizeBytes"], module.len());
    assert_eq!(version["paramsSchema"]["required"], json!(["days"]));
    assert_eq!(text(&version, "createdAt"), "2026-03-01T12:00:00.000Z");
    assert!(version["uploadedBy"].is_string(), "{version:#}");

    app.at("2026-03-01T13:00:00Z");
    let again = app.upload(module.clone()).await;
    assert_eq!(again.header("location"), "");
    assert_eq!(again.expect(200), version);
    assert_eq!(upload_form(&app, &[("module", &module)]).await.expect(200), version);
    assert_eq!(app.read(&location).await, version);
}

#[apply(on_both_engines)]
async fn a_version_has_labels_and_translations(app: TestApp) {
    let mut guest = guest("polyglot");
    let label = |text: &str| vec![("days", text.to_owned())];
    guest.manifest.labels = label("Days in a row");
    guest.manifest.translations = vec![("de", "Ehrlich", label("Tage in Folge")), ("ko", "정직", Vec::new())];
    let version = app.upload(guest.module()).await.expect(201);
    assert_eq!(version["labels"], json!({"days": "Days in a row"}));
    let expected = json!({
        "de": {"title": "Ehrlich", "description": "Description", "labels": {"days": "Tage in Folge"}},
        "ko": {"title": "정직", "description": "Description", "labels": {}},
    });
    assert_eq!(version["translations"], expected);
    assert_eq!(app.read(&path_of(&version)).await, version);
}

#[apply(on_both_engines)]
async fn a_form_uploads_too(app: TestApp) {
    let module = bundled("first-come");
    let version = upload_form(&app, &[("comment", b"mine"), ("module", &module)])
        .await
        .expect(201);
    assert_eq!(text(&version, "digest"), Digest::of(&module).to_string());
}

#[apply(on_both_engines)]
async fn a_component_uploads_like_a_module(app: TestApp) {
    let version = app.upload(guest("made-by-hand").component()).await.expect(201);
    assert_eq!(text(&version, "name"), "made-by-hand");
}

#[apply(on_both_engines)]
async fn a_version_is_immutable(app: TestApp) {
    let module = bundled("first-come");
    let first = app.upload(module.clone()).await.expect(201);
    let problem = app
        .upload(padded(module.clone(), "built again"))
        .await
        .expect_problem(409, "plugin-version-taken");
    assert_eq!(problem["digest"], first["digest"]);
    assert_eq!(app.read("/plugins").await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(app.read(&path_of(&first)).await, first);
}

#[apply(on_both_engines)]
async fn one_of_eight_concurrent_uploads_of_the_same_bytes_is_new(app: TestApp) {
    let module = guest("popular").module();
    // Eight operators, because an operator has one upload at a time.
    let mut operators = Vec::new();
    for _ in 0..8 {
        operators.push(app.token(Role::Operator).await);
    }
    let uploads: Vec<_> = operators
        .iter()
        .map(|token| {
            let call = app.post("/plugins").bearer(token);
            tokio::spawn(call.bytes("application/wasm", module.clone()).send())
        })
        .collect();
    let mut statuses = Vec::new();
    for upload in uploads {
        statuses.push(upload.await.expect("an answer").status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
}

#[apply(on_both_engines)]
async fn an_invalid_plugin_is_refused_with_the_reason(app: TestApp) {
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write"
        (func (param i32 i32 i32 i32) (result i32)))"#;
    let empty_name = {
        let mut guest = guest("x");
        guest.manifest.name = String::new();
        guest
    };
    let cases = [
        ("not-wasm", b"this is no module".to_vec()),
        ("not-wasm", Vec::new()),
        ("malformed", b"\0asm\x01\0\0\0garbage".to_vec()),
        ("no-metadata", wat::parse_str("(module)").expect("a module")),
        ("wrong-world", wat::parse_str("(component)").expect("a component")),
        (
            "import-not-allowed",
            Condition {
                imports: wasi,
                ..guest("wasi")
            }
            .module(),
        ),
        (
            "describe-failed",
            Condition {
                describe: ENDLESS,
                ..guest("endless")
            }
            .module(),
        ),
        ("bad-manifest", empty_name.module()),
    ];
    for (refusal, module) in cases {
        let problem = app.upload(module).await.expect_problem(422, "plugin-refused");
        assert_eq!(problem["refusal"], refusal, "{problem:#}");
    }
    assert_eq!(app.read("/plugins").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn a_body_that_is_not_an_upload_is_rejected(app: TestApp) {
    let token = app.operator().await;
    let module = bundled("first-come");
    let send = async |content_type: &str, body: Vec<u8>| {
        app.post("/plugins")
            .bearer(&token)
            .bytes(content_type, body)
            .send()
            .await
    };
    send("application/octet-stream", module.clone())
        .await
        .expect_problem(415, "unsupported-media-type");
    send("application/json", b"{}".to_vec())
        .await
        .expect_problem(415, "unsupported-media-type");
    let untyped = app.post("/plugins").bearer(&token).send().await;
    untyped.expect_problem(415, "unsupported-media-type");
    send("multipart/form-data", module.clone())
        .await
        .expect_problem(422, "invalid-body");
    send("multipart/form-data; boundary=frame", module.clone())
        .await
        .expect_problem(422, "invalid-body");
    upload_form(&app, &[("plugin", &module)])
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(app.read("/plugins").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn a_module_has_at_most_a_mebibyte(app: TestApp) {
    let too_large = vec![0; (1 << 20) + 1];
    app.upload(too_large.clone())
        .await
        .expect_problem(413, "body-too-large");
    upload_form(&app, &[("module", &too_large)])
        .await
        .expect_problem(413, "body-too-large");
    app.upload(vec![0; 8 << 20]).await.expect_problem(413, "body-too-large");
    // At the limit the module is read and then refused for its content.
    app.upload(vec![0; 1 << 20]).await.expect_problem(422, "plugin-refused");
    upload_form(&app, &[("module", &vec![0; 1 << 20])])
        .await
        .expect_problem(422, "plugin-refused");
}

#[apply(on_both_engines)]
async fn versions_are_listed_newest_first_and_filtered(app: TestApp) {
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        let mut guest = guest("evolving");
        version.clone_into(&mut guest.manifest.version);
        app.at(&format!("2026-03-01T12:0{}:00Z", version.len() % 5));
        app.upload(guest.module()).await.expect(201);
    }
    app.at("2026-03-01T12:30:00Z");
    app.upload(guest("other").module()).await.expect(201);
    app.set_plugin("evolving", "1.1.0", "DISABLED").await;

    assert_eq!(app.read("/plugins").await["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(each(&app.read("/plugins?name=other").await["items"], "name"), ["other"]);
    assert_eq!(
        each(&app.read("/plugins?state=DISABLED").await["items"], "version"),
        ["1.1.0"]
    );
    assert_eq!(app.read("/plugins?name=nobody").await["items"], json!([]));

    let mut seen = Vec::new();
    let mut path = "/plugins?pageSize=1".to_owned();
    loop {
        let page = app.read(&path).await;
        seen.extend(each(&page["items"], "digest").into_iter().map(str::to_owned));
        let Some(token) = page["nextPageToken"].as_str() else {
            break;
        };
        path = format!("/plugins?pageSize=1&pageToken={token}");
    }
    let all = app.read("/plugins").await;
    assert_eq!(seen, each(&all["items"], "digest"));

    let plugin = app.read("/plugins/evolving").await;
    assert_eq!(text(&plugin, "name"), "evolving");
    assert_eq!(plugin["versions"].as_array().map(Vec::len), Some(3));
    let token = app.operator().await;
    for path in [
        "/plugins?state=GONE",
        "/plugins?pageSize=0",
        "/plugins?pageSize=201",
        "/plugins?pageToken=!",
    ] {
        app.get(path)
            .bearer(&token)
            .send()
            .await
            .expect_problem(400, "invalid-parameter");
    }
}

#[apply(on_both_engines)]
async fn the_module_is_downloaded_byte_for_byte(app: TestApp) {
    let module = bundled("lucky-draw");
    let version = app.upload(module.clone()).await.expect(201);
    let token = app.operator().await;
    let reply = app
        .get(&format!("{}/module", path_of(&version)))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/wasm");
    let name = format!("attachment; filename=\"lucky-draw-{}.wasm\"", text(&version, "version"));
    assert_eq!(reply.header("content-disposition"), name);
    assert_eq!(reply.bytes, module);
}

#[apply(on_both_engines)]
async fn unknown_plugins_and_versions_are_not_found(app: TestApp) {
    app.install(bundled("first-come")).await;
    let token = app.operator().await;
    let simulation = json!({"params": {}, "facts": []});
    for name in ["/plugins/nobody", "/plugins/first-come/versions/9.9.9"] {
        app.get(name)
            .bearer(&token)
            .send()
            .await
            .expect_problem(404, "no-such-plugin");
    }
    let path = "/plugins/first-come/versions/9.9.9";
    app.get(&format!("{path}/module"))
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-plugin");
    app.delete(path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-plugin");
    set_state(&app, path, json!({"state": "DISABLED"}), &token)
        .await
        .expect_problem(404, "no-such-plugin");
    let simulate = app
        .post(&format!("{path}/simulate"))
        .bearer(&token)
        .json(&simulation)
        .send()
        .await;
    simulate.expect_problem(404, "no-such-plugin");
}

#[apply(on_both_engines)]
async fn a_version_is_disabled_and_enabled(app: TestApp) {
    let path = path_of(&app.upload(bundled("login-streak")).await.expect(201));
    let token = app.operator().await;
    for state in ["DISABLED", "DISABLED", "ACTIVE"] {
        set_state(&app, &path, json!({"state": state}), &token)
            .await
            .expect(200);
        assert_eq!(app.read(&path).await["state"], state);
    }
    for body in [
        json!({}),
        json!({"state": "active"}),
        json!({"state": "ACTIVE", "more": 1}),
        json!([]),
    ] {
        set_state(&app, &path, body, &token)
            .await
            .expect_problem(422, "invalid-body");
    }
}

#[apply(on_both_engines)]
async fn only_an_unused_version_can_be_deleted(app: TestApp) {
    let path = path_of(&app.upload(bundled("first-come")).await.expect(201));
    let (path, token) = (path.as_str(), app.operator().await);
    assert_eq!(app.delete(path).bearer(&token).send().await.status, 204);
    app.get(path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-plugin");

    // The same bytes are a new version after the deletion.
    app.upload(bundled("first-come")).await.expect(201);
    let event = app.event("first-come", json!({}), json!({})).await;
    app.delete(path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(409, "plugin-in-use");
    let user = app.user(Role::User).await;
    app.claim(&user.token, &event).send().await.expect(201);

    // A deleted event remains in the history, and so does the plugin version of its claims.
    let event = format!("/events/{}", text(&event, "id"));
    assert_eq!(app.delete(&event).bearer(&token).send().await.status, 204);
    app.delete(path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(409, "plugin-in-use");
    let module = app.get(&format!("{path}/module")).bearer(&token).send().await;
    assert_eq!(module.bytes, bundled("first-come"));
}
