//! `/openapi.json` and `/swagger/`

mod client;

use std::collections::{BTreeMap, BTreeSet};

use rstest_reuse::apply;
use serde_json::Value;

use crate::support::{TestApp, on_both_engines, text};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Method, path and description of every operation.
pub(crate) fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item)| {
        let item: &Value = item;
        let path: &String = path;
        METHODS
            .iter()
            .filter_map(move |method| Some((*method, path.as_str(), item.get(*method)?)))
    };
    paths.iter().flat_map(of_path).collect()
}

/// The list of strings in this member; empty if it is missing.
pub(crate) fn names<'a>(operation: &'a Value, member: &str) -> BTreeSet<&'a str> {
    let names = operation.get(member).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Every problem code that an answer of the operation shows as an example.
fn codes(operation: &Value) -> BTreeSet<&str> {
    let answers = operation["responses"].as_object().expect("responses").values();
    let examples = answers.filter_map(|answer| {
        answer
            .pointer("/content/application~1problem+json/examples")?
            .as_object()
    });
    examples
        .flat_map(|examples| examples.keys().map(String::as_str))
        .collect()
}

async fn document(app: &TestApp) -> Value {
    app.get("/openapi.json").send().await.expect(200)
}

/// One engine is enough, because the document does not depend on the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_equals_the_reviewed_snapshot() {
    let app = TestApp::on_sqlite().await;
    let mut document = document(&app).await;
    document["info"].as_object_mut().expect("info").remove("version");
    insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_json_snapshot!("openapi", document);
    });
}

#[apply(on_both_engines)]
async fn it_is_served_with_its_user_interface(app: TestApp) {
    let document = document(&app).await;
    assert!(text(&document, "openapi").starts_with("3.1."));
    let page = app.get("/swagger/").send().await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let page = String::from_utf8(page.bytes).expect("text");
    assert!(!page.contains("<script>"), "an inline script would not run: {page}");
    assert!(
        !page.contains("https://"),
        "the page loads nothing from elsewhere: {page}"
    );
    let script = app.get("/swagger/swagger-initializer.js").send().await;
    let script = String::from_utf8(script.bytes).expect("text");
    assert!(script.contains("/openapi.json"));
    assert!(!script.contains("\"persistAuthorization\": true"), "{script}");
    let api = app.get("/livez").send().await;
    assert_eq!(
        api.header("content-security-policy"),
        "default-src 'none'; frame-ancestors 'none'"
    );
    for file in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        assert_eq!(app.get(&format!("/swagger/{file}")).send().await.status, 200, "{file}");
    }
    let bare = app.get("/swagger").send().await;
    assert!(bare.status.is_redirection() || bare.status == 200, "{}", bare.status);
    // What the Authorize button sends.
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((text(scheme, "type"), text(scheme, "scheme")), ("http", "bearer"));
}

#[apply(on_both_engines)]
async fn every_operation_documents_its_roles_and_problems(app: TestApp) {
    let document = document(&app).await;
    let operations = operations(&document);
    assert!(operations.len() >= 35, "{}", operations.len());
    let known: BTreeSet<&str> = operations
        .iter()
        .flat_map(|(_, _, operation)| codes(operation))
        .collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations {
        let what = format!("{method} {path}");
        let roles = names(operation, "x-roles");
        assert!(!roles.is_empty(), "{what} has no x-roles");
        let allowed = BTreeSet::from(["PUBLIC", "USER", "OPERATOR", "AUDITOR", "ADMIN", "self"]);
        assert!(roles.is_subset(&allowed), "{what}: {roles:?}");
        if roles.contains("PUBLIC") {
            assert_eq!(roles.len(), 1, "{what}");
            assert!(
                !codes(operation).contains("forbidden") || path == "/auth/register",
                "{what}"
            );
        } else {
            let security = operation["security"].as_array().expect("security");
            let is_bearer = |alternative: &Value| alternative["bearer"].is_array();
            assert!(!security.is_empty() && security.iter().all(is_bearer), "{what}");
            assert!(
                codes(operation).is_superset(&BTreeSet::from(["unauthenticated", "invalid-token"])),
                "{what}"
            );
        }
        for code in names(operation, "x-problems") {
            assert!(
                known.contains(code) && codes(operation).contains(code),
                "{what}: {code}"
            );
        }
        assert!(codes(operation).contains("internal"), "{what}");
        assert!(
            !text(operation, "summary").is_empty() && operation["tags"].is_array(),
            "{what}"
        );
        assert!(
            ids.insert(text(operation, "operationId").to_owned()),
            "{what}: another has its operationId"
        );
        let good = operation["responses"]
            .as_object()
            .expect("responses")
            .keys()
            .any(|status| status.starts_with(['2', '3']));
        assert!(good, "{what} never succeeds");
    }
}

#[apply(on_both_engines)]
async fn every_body_and_parameter_has_a_sufficient_example(app: TestApp) {
    let document = document(&app).await;
    for (method, path, operation) in operations(&document) {
        let Some(content) = operation.pointer("/requestBody/content").and_then(Value::as_object) else {
            continue;
        };
        for (media, body) in content {
            if body.get("example").is_some() || body.get("examples").is_some() || media != "application/json" {
                continue;
            }
            // Otherwise every required member of the schema has one.
            let schema = resolve(&document, &body["schema"]);
            if schema.get("example").is_some() {
                continue;
            }
            for member in names(schema, "required") {
                let schema = &schema["properties"][member];
                assert!(
                    has_example(&document, schema),
                    "{method} {path}: {member} has no example"
                );
            }
        }
    }
}

/// As validators and generators of clients check it. `oas-3.1.json` is the schema of the OpenAPI Initiative, 2022-10-07
/// (https://spec.openapis.org/oas/3.1/schema/2022-10-07).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_openapi() {
    let app = TestApp::on_sqlite().await;
    let document = document(&app).await;
    let schema: Value = serde_json::from_str(include_str!("openapi/oas-3.1.json")).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let faults = validator.iter_errors(&document);
    let faults: Vec<_> = faults
        .map(|fault| format!("{}: {fault:.200}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    // The schema above does not look into the schemas of the document.
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        let fault = jsonschema::draft202012::meta::validate(schema).err();
        assert!(fault.is_none(), "{name}: {fault:?}");
    }
    for (method, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            assert!(
                !text(response, "description").is_empty(),
                "{method} {path} {status} has no description"
            );
        }
    }
}

#[apply(on_both_engines)]
async fn every_reference_resolves(app: TestApp) {
    let document = document(&app).await;
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(&reference[1..]).expect("a schema"),
        None => schema,
    }
}

/// Whether a schema has an example, or a program can derive one from its members, its choices or its format.
fn has_example(document: &Value, schema: &Value) -> bool {
    let schema = resolve(document, schema);
    let shown = ["example", "examples", "default", "enum", "const"]
        .iter()
        .any(|member| schema.get(*member).is_some());
    let made_up = schema.get("format").and_then(Value::as_str) == Some("uuid");
    let inside = |schema: &Value| {
        let properties = schema["properties"].as_object();
        properties.is_some_and(|members| {
            let required = names(schema, "required");
            members
                .iter()
                .filter(|(name, _)| required.contains(name.as_str()))
                .all(|(_, member)| has_example(document, member))
        })
    };
    let items = schema.get("items").is_some_and(|items| has_example(document, items));
    let choices = ["oneOf", "anyOf", "allOf"].iter().any(|member| {
        schema
            .get(*member)
            .and_then(Value::as_array)
            .is_some_and(|choices| choices.iter().any(|choice| has_example(document, choice)))
    });
    shown || made_up || inside(schema) || items || choices
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                references.insert(reference.to_owned());
            }
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// Two types of one name would share a schema, so the document would describe one of them wrongly.
#[test]
fn no_two_types_have_one_schema() {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src")];
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("a text");
            for name in schemas(&source) {
                let file = path.display().to_string();
                let other = files.insert(name.clone(), file.clone());
                assert_eq!(
                    other, None,
                    "{file} has a schema {name}, too: give one a name by #[schema(as = …)]"
                );
            }
        }
    }
    assert!(files.len() > 100, "{files:#?}");
}

/// The names of the types that derive `ToSchema`.
fn schemas(source: &str) -> Vec<String> {
    let (mut names, mut attributes) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        let words: Vec<&str> = line
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .collect();
        let declared = words.iter().position(|word| ["struct", "enum"].contains(word));
        match declared {
            Some(at) if line.starts_with("pub") => {
                let given = attributes
                    .split("schema(as = ")
                    .nth(1)
                    .and_then(|rest| rest.split(')').next());
                if attributes.contains("ToSchema") {
                    names.push(given.unwrap_or(words[at + 1]).to_owned());
                }
                attributes.clear();
            }
            _ if line.is_empty() || line == "}" => attributes.clear(),
            _ => attributes.push_str(line),
        }
    }
    names
}
