//! Every operation of the OpenAPI document, called with every role: `x-roles` lists the roles that are authorized.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::Value;

use crate::openapi::{names, operations};
use crate::support::{TestApp, on_both_engines};

const ROLES: [Role; 4] = [Role::User, Role::Operator, Role::Auditor, Role::Admin];

/// Fills every placeholder with a well-formed value that does not exist and belongs to no user.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{id}", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")
        .replace("{externalId}", "nobody")
        .replace("{name}", "nobody")
        .replace("{version}", "0.0.0")
        .replace("{source}", "nothing")
        .replace("{size}", "1")
        .replace("{keyId}", "0123456789ABCDEF")
        .replace("{messageId}", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e78")
}

#[apply(on_both_engines)]
async fn exactly_the_documented_roles_are_authorized(app: TestApp) {
    let document = app.get("/openapi.json").send().await.expect(200);
    let mut checked = 0;
    for (method, path, operation) in operations(&document) {
        let allowed = names(operation, "x-roles");
        let path = filled(path);
        assert!(!path.contains('{'), "fill in {path}");
        // Without a body, an authorized caller gets a response or an error about the body.
        let anonymous = app.call(&method.to_uppercase(), &path).send().await;
        if allowed.contains("PUBLIC") {
            // This server has no identity provider, which is not a refusal.
            assert!(
                !matches!(anonymous.status.as_u16(), 403..=405) || anonymous.json["code"] == "oidc-not-configured",
                "{method} {path}: {}",
                anonymous.status
            );
            assert_ne!(anonymous.json["code"], "unauthenticated", "{method} {path}");
            continue;
        }
        anonymous.expect_problem(401, "unauthenticated");
        let forged = app
            .call(&method.to_uppercase(), &path)
            .bearer("e30.e30.e30")
            .send()
            .await;
        forged.expect_problem(401, "invalid-token");
        for role in ROLES {
            // A new account each time, because some operations end the session.
            let token = app.token(role).await;
            let reply = app.call(&method.to_uppercase(), &path).bearer(&token).send().await;
            let what = format!("{role} on {method} {path}: {} {:#}", reply.status, reply.json);
            assert!(
                reply.status.as_u16() < 500 && reply.status != 401 && reply.status != 405,
                "{what}"
            );
            assert_eq!(
                reply.status != 403,
                allowed.contains(role.to_string().as_str()),
                "{what}"
            );
            if reply.status == 403 {
                reply.expect_problem(403, "forbidden");
            }
            checked += 1;
        }
    }
    assert!(checked >= 100, "only {checked}");
}

#[apply(on_both_engines)]
async fn an_undocumented_path_is_not_found(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    for path in [
        "/",
        "/events/",
        "/admin",
        "/metrics",
        "/plugins/a/b",
        "/users/me/",
        "/reward-requests/mine/all",
        "/..",
        "/%2e%2e/etc/passwd",
    ] {
        app.get(path)
            .bearer(&admin)
            .send()
            .await
            .expect_problem(404, "no-such-route");
    }
    let document = app.get("/openapi.json").send().await.expect(200);
    let documented = |method: &str, path: &str| document["paths"][path].get(method).is_some_and(Value::is_object);
    for (_, path, _) in operations(&document) {
        for method in ["get", "put", "post", "delete", "patch"] {
            // `/users/me` also matches `/users/{id}`, for example; methods of such another path are skipped.
            if documented(method, path)
                || path.ends_with("/me")
                || path.ends_with("/mine")
                || path.ends_with("/active")
                || path.ends_with("/requests")
            {
                continue;
            }
            let reply = app
                .call(&method.to_uppercase(), &filled(path))
                .bearer(&admin)
                .send()
                .await;
            assert_eq!(reply.status, 405, "{method} {path}: {:#}", reply.json);
            reply.expect_problem(405, "method-not-allowed");
        }
    }
}
