//! The scope that the OpenAPI document shows for a route is the scope that its handler requires.

use std::fs;
use std::path::Path;

use meed_host::auth::Scope;

/// The guard of a scope: `EventsWrite` of `events:write`.
fn guard(scope: Scope) -> String {
    format!("{scope:?}")
}

/// The mismatches in a file of routes.
pub(super) fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for route in text.split("#[utoipa::path(").skip(1) {
        let (attribute, handler) = route.split_once("async fn ").expect("a handler");
        let handler = handler.split("\n}\n").next().unwrap_or_default();
        let name = handler.split('(').next().unwrap_or_default();
        let scopes = Scope::ALL.iter().copied();
        let documented: Vec<Scope> = scopes
            .clone()
            .filter(|scope| attribute.contains(&format!("(\"bearer\" = [\"{scope}\"])")))
            .collect();
        let either = handler
            .split_once("require_either(")
            .and_then(|(_, scopes)| scopes.split_once(')'));
        let either = either.map_or("", |(scopes, _)| scopes);
        let required: Vec<Scope> = scopes
            .filter(|scope| {
                let guard = guard(*scope);
                handler.contains(&format!(": {guard},"))
                    || either.contains(&format!("Scope::{guard}"))
                    || handler.contains(&format!("is_or_has(user_id, Scope::{guard})"))
            })
            .collect();
        // Users reach what is their own without a scope; `service_keys::scopes` calls these.
        if attribute.contains("(\"bearer\" = []), ") {
            continue;
        }
        let says_scope = attribute.contains("(\"bearer\" = [\"");
        if documented != required || says_scope == documented.is_empty() {
            faults.push(format!(
                "{name}: its document says {documented:?}, its handler requires {required:?}"
            ));
        }
    }
    faults
}

#[test]
fn the_documented_scope_is_the_required_one() {
    let mut files = Vec::new();
    super::list(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src"),
        "../host/src",
        &mut files,
    );
    let mut checked = 0;
    for file in files.iter().filter(|file| file.contains("/routes")) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a source file");
        assert_eq!(faults(&text), Vec::<String>::new(), "{file}");
        checked += text.matches("(\"bearer\" = [\"").count();
    }
    assert!(checked > 40, "only {checked}");
}
