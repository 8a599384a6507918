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

/// What makes its caller more powerful: a proof of identity, which no key can give.
const NEEDS_A_PERSON: [(&str, &str); 4] = [
    ("post", "/users/{id}/password-reset"),
    ("delete", "/users/{id}/totp"),
    ("get", "/rewards/{id}/codes/export"),
    ("post", "/plugin-keys"),
];

/// Every principal may read these, so that anyone can hold the operator to them.
const FOR_ALL: &str = "/audit/checkpoints";

/// No key can have these: it could get further scopes, or a person must be responsible.
const ONLY_PERSONS: [Scope; 4] = [
    Scope::MakeGoodsApprove,
    Scope::ServiceKeysWrite,
    Scope::ReleasesApprove,
    Scope::ReleasesWaive,
];

#[apply(on_both_engines)]
async fn each_operation_needs_exactly_its_scope(app: TestApp) {
    let document = app.get("/openapi.json").send().await.expect(200);
    let grantable = Scope::ALL.iter().filter(|scope| !ONLY_PERSONS.contains(scope));
    let all: Vec<&str> = grantable.map(|scope| scope.name()).collect();
    let bare = secret(&app, "bare", &["events:read"]).await;
    let mut checked = 0;
    for (number, (method, path, operation)) in operations(&document).into_iter().enumerate() {
        let Some(alternatives) = scopes(operation) else {
            continue;
        };
        let needed = alternatives.concat();
        if path.starts_with(FOR_ALL) {
            let reply = app
                .call(&method.to_uppercase(), &filled(path))
                .bearer(&bare)
                .send()
                .await;
            assert!(
                ![401, 403].contains(&reply.status.as_u16()),
                "{method} {path}: {}",
                reply.status
            );
            continue;
        }
        // Users reach what is their own without a scope; for all others it does not exist.
        let is_own = alternatives.contains(&Vec::new());
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
        let refused = call(&without).await;
        // Who may ask depends on the user whom the body names.
        let names_user = path == "/events/{id}/explain";
        if (is_own || names_user) && refused.status != 403 {
            let what = format!("{method} {path}: {} {:#}", refused.status, refused.json);
            assert!([404, 400, 415, 422].contains(&refused.status.as_u16()), "{what}");
        } else {
            refused.expect_problem(403, "forbidden");
        }
        let scoped = alternatives.iter().filter(|scopes| !scopes.is_empty());
        for (which, scopes) in scoped.enumerate() {
            let reply = call(&secret(&app, &format!("with-{number}-{which}"), scopes).await).await;
            let what = format!("{method} {path}: {} {:#}", reply.status, reply.json);
            assert!(
                reply.status.as_u16() < 500 && ![401, 405].contains(&reply.status.as_u16()),
                "{what}"
            );
            // The list of one's own claims is for users, and some changes need a person.
            let is_personal = path.ends_with("/mine") || NEEDS_A_PERSON.contains(&(method, path));
            assert_eq!(reply.status == 403, is_personal, "{what}");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked}");
}

#[apply(on_both_engines)]
async fn a_key_cannot_make_itself_more_powerful(app: TestApp) {
    let key = secret(&app, "accounts", &["users:read", "users:write", "plugin-keys:write"]).await;
    let user = app.user(Role::User).await;
    let path = format!("/users/{}", user.id);
    let promote = app.patch(&path).bearer(&key).json(&json!({"role": "ADMIN"}));
    promote.send().await.expect_problem(403, "forbidden");
    let body = json!({"email": "eve@example.com", "password": "correct horse battery", "role": "ADMIN"});
    let register = app.post("/auth/register").bearer(&key).json(&body);
    register.send().await.expect_problem(403, "forbidden");
    // It may disable the account of a user.
    app.patch(&path)
        .bearer(&key)
        .json(&json!({"disabled": true}))
        .send()
        .await
        .expect(200);
    let body = json!({"name": "more", "scopes": ["events:write"]});
    let create = app.post("/service-keys").bearer(&key).json(&body);
    create.send().await.expect_problem(403, "forbidden");
    let body = json!({"name": "Eve", "publicKey": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"});
    let trust = app.post("/plugin-keys").bearer(&key).json(&body);
    trust.send().await.expect_problem(403, "forbidden");
    // It takes over no account, of staff or of a user.
    for role in Role::ALL {
        let account = app.user(role).await;
        let reset = app.post(&format!("/users/{}/password-reset", account.id));
        reset.bearer(&key).send().await.expect_problem(403, "forbidden");
        let remove = app.delete(&format!("/users/{}/totp", account.id));
        remove.bearer(&key).send().await.expect_problem(403, "forbidden");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM password_resets").await, 0);
}

#[apply(on_both_engines)]
async fn a_key_locks_out_no_staff_and_saves_none_from_erasure(app: TestApp) {
    let key = secret(&app, "accounts", &["users:read", "users:write"]).await;
    let admin = app.token(Role::Admin).await;
    for role in [Role::Operator, Role::Auditor, Role::Admin] {
        let account = app.user(role).await;
        let path = format!("/users/{}", account.id);
        for disabled in [true, false] {
            let change = app.patch(&path).bearer(&key).json(&json!({"disabled": disabled}));
            change.send().await.expect_problem(403, "staff-account");
        }
        let erase = app.delete(&path).bearer(&key);
        erase.send().await.expect_problem(403, "staff-account");
        app.delete(&path).bearer(&admin).send().await.expect(202);
        // Nor can it ask for what was asked for.
        let again = app.delete(&path).bearer(&key);
        again.send().await.expect_problem(403, "staff-account");
        let cancel = app.delete(&format!("{path}/erasure")).bearer(&key);
        cancel.send().await.expect_problem(403, "staff-account");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM user_erasures").await, 3);
    let user = app.user(Role::User).await;
    let path = format!("/users/{}", user.id);
    app.delete(&path).bearer(&key).send().await.expect(202);
    let cancel = app.delete(&format!("{path}/erasure")).bearer(&key);
    cancel.send().await.expect(204);
}
