//! The schema, and the example of a build.

use serde_json::{Value, json};

use crate::cli::{meed, output, text};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.schema.json");
const WORKFLOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/github/rules.yaml");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/github/rules/shop.yaml");

fn schema() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = output(meed(folder.path()).arg("schema"));
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    text(&printed.stdout)
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// `UPDATE_DOCS=1` writes it.
#[test]
fn the_schema_in_the_docs_is_that_of_the_program() {
    let schema = schema();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(SCHEMA, &schema).expect("the schema");
    }
    let written = std::fs::read_to_string(SCHEMA).unwrap_or_default();
    assert!(
        written == schema,
        "docs/rules.schema.json is old: run with UPDATE_DOCS=1"
    );
}

#[test]
fn the_schema_accepts_what_the_docs_show_and_refuses_mistakes() {
    let schema: Value = serde_json::from_str(&schema()).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a JSON Schema");
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules-as-code.md");
    let docs = std::fs::read_to_string(docs).expect("the docs");
    let example = std::fs::read_to_string(EXAMPLE).expect("the example");
    let blocks = docs
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut examples: Vec<String> = blocks
        .map(str::to_owned)
        .filter(|block| block.contains("apiVersion"))
        .collect();
    assert!(!examples.is_empty(), "the docs have an example");
    examples.push(example);
    for example in examples {
        let errors: Vec<String> = validator
            .iter_errors(&yaml(&example))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?} in {example}");
    }
    for mistake in [
        "rewards: {}",
        "apiVersion: meed/v2",
        "apiVersion: meed/v1\nreward: {}",
        "apiVersion: meed/v1\nrewards: {a: {}}",
        "apiVersion: meed/v1\nrewards: {a: {type: COUPON, stok: 1}}",
        "apiVersion: meed/v1\nrewards: {a: {type: COUPON, stock: many}}",
        "apiVersion: meed/v1\nwebhooks: {a: {url: 'https://x', secret: x}}",
        "apiVersion: meed/v1\nserviceKeys: {a: {scopes: [events:read], token: x}}",
        "apiVersion: meed/v1\nevents: {a: {title: A, startDate: x, endDate: y, rewards: [], condition: {plugin: a@1}}}",
    ] {
        assert!(!validator.is_valid(&yaml(mistake)), "{mistake}");
    }
}

#[test]
fn the_example_of_a_build_is_a_workflow() {
    let text = std::fs::read_to_string(WORKFLOW).expect("the workflow");
    let workflow = yaml(&text);
    let steps: Vec<&str> = workflow["jobs"]
        .as_object()
        .expect("jobs")
        .values()
        .flat_map(|job| job["steps"].as_array().expect("steps"))
        .filter_map(|step| step["run"].as_str())
        .collect();
    for command in ["meed plugin test", "meed diff", "meed apply"] {
        assert!(steps.iter().any(|step| step.contains(command)), "{command}: {steps:#?}");
    }
    assert_eq!(workflow["permissions"], json!({"contents": "read"}));
    // A pull request of a stranger gets no token that can write.
    assert!(!text.contains("pull_request_target"), "{text}");
}
