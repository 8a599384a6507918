//! A service key may do what its scopes say, and nothing else.

use meed_host::auth::{Role, Scope};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::secret;
use crate::openapi::operations;
use crate::roles::filled;
use crate::support::{TestApp, on_both_engines};

/// The alternatives of scopes that the document names for an operation; `None`: it is public.
fn scopes(operation: &Value) -> Option<Vec<Vec<&str>>> {
    let alternatives = operation["security"].as_array()?;
    if alternatives.contains(&json!({})) {
        return None;
    }
    Some(alternatives.iter().map(names).collect())
}

fn names(alternative: &Value) -> Vec<&str> {
    let scopes = alternative["bearer"].as_array().expect("scopes");
    scopes.iter().filter_map(Value::as_str).collect()
}

/// No key can have these: it could get further scopes, or a person must be responsible.
const ONLY_PERSONS: [Scope; 3] = [Scope::ServiceKeysWrite, Scope::ReleasesApprove, Scope::ReleasesWaive];

#[apply(on_both_engines)]
async fn each_operation_needs_exactly_its_scope(app: TestApp) {
    let document = app.get("/openapi.json").send().await.expect(200);
    let grantable = Scope::ALL.iter().filter(|scope| !ONLY_PERSONS.contains(scope));
    let all: Vec<&str> = grantable.map(|scope| scope.name()).collect();
    let mut checked = 0;
    for (number, (method, path, operation)) in operations(&document).into_iter().enumerate() {
        let Some(alternatives) = scopes(operation) else {
            continue;
        };
        let needed = alternatives.concat();
        let call = async |key: &str| {
            let call = app.call(&method.to_uppercase(), &filled(path)).bearer(key);
            call.send().await
        };
        if needed
            .iter()
            .all(|scope| ONLY_PERSONS.iter().any(|only| only.name() == *scope))
        {
            // For persons: their account, and the scopes that no key can have.
            let reply = call(&secret(&app, &format!("all-{number}"), &all).await).await;
            let what = format!("{method} {path}: {} {:#}", reply.status, reply.json);
            assert!(reply.status.is_client_error() && reply.status != 401, "{what}");
            continue;
        }
        let others: Vec<&str> = all.iter().copied().filter(|scope| !needed.contains(scope)).collect();
        let without = secret(&app, &format!("without-{number}"), &others).await;
        if path == "/users/{id}/activities" || path == "/users/{id}" {
            continue;
        }
        call(&without).await.expect_problem(403, "forbidden");
        for (which, scopes) in alternatives.iter().enumerate() {
            let reply = call(&secret(&app, &format!("with-{number}-{which}"), scopes).await).await;
            let what = format!("{method} {path}: {} {:#}", reply.status, reply.json);
            assert!(
                reply.status.as_u16() < 500 && ![401, 405].contains(&reply.status.as_u16()),
                "{what}"
            );
            // The list of one's own claims is for users, and the export of codes needs a person.
            let is_personal = path.ends_with("/mine") || path.ends_with("/codes/export");
            assert_eq!(reply.status == 403, is_personal, "{what}");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked}");
}

#[apply(on_both_engines)]
async fn a_key_cannot_make_itself_more_powerful(app: TestApp) {
    let key = secret(&app, "accounts", &["users:read", "users:write"]).await;
    let user = app.user(Role::User).await;
    let path = format!("/users/{}", user.id);
    let promote = app.patch(&path).bearer(&key).json(&json!({"role": "ADMIN"}));
    promote.send().await.expect_problem(403, "forbidden");
    let body = json!({"email": "eve@example.com", "password": "correct horse battery", "role": "ADMIN"});
    let register = app.post("/auth/register").bearer(&key).json(&body);
    register.send().await.expect_problem(403, "forbidden");
    // It may disable an account.
    app.patch(&path)
        .bearer(&key)
        .json(&json!({"disabled": true}))
        .send()
        .await
        .expect(200);
    let body = json!({"name": "more", "scopes": ["events:write"]});
    let create = app.post("/service-keys").bearer(&key).json(&body);
    create.send().await.expect_problem(403, "forbidden");
}
