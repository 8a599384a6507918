//! Schemas of plugins that make the check of params expensive

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::target::{Target, client};
use crate::support::{TestApp, guest, on_both_engines};

fn with_schema(name: &str, schema: &Value) -> Vec<u8> {
    let mut condition = guest(name);
    condition.manifest.params_schema = schema.to_string();
    condition.module()
}

impl Target {
    async fn upload(&self, token: &str, module: Vec<u8>) -> (u16, Value) {
        let call = client().post(self.url("/plugins")).bearer_auth(token);
        let call = call.header("content-type", "application/wasm").body(module);
        let answer = call.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

#[apply(on_both_engines)]
async fn a_schema_that_fails_at_every_item_takes_no_memory(app: TestApp) {
    let target = Target::start(app, &[]).await;
    let operator = target.fixtures.operator().await;
    let failing =
        |count: usize| json!({"type": "object", "properties": {"a": {"items": {"allOf": vec![false; count]}}}});
    // Two bytes per item.
    let params = json!({"a": vec![0; 2_000]});

    let too_large = with_schema("too-large", &failing(5_000));
    let mut with_example = failing(900);
    with_example["examples"] = json!([params]);
    let with_example = with_schema("with-example", &with_example);
    let accepted = target.fixtures.install(with_schema("accepted", &failing(900))).await;
    let mut event = target.fixtures.event_body(&accepted, params, json!({})).await;
    event["endDate"] = json!("2035-01-01T00:00:00Z");
    let attack = async {
        let (status, problem) = target.upload(&operator, too_large).await;
        assert_eq!(
            (status, &problem["refusal"]),
            (422, &json!("bad-manifest")),
            "{problem:#}"
        );
        let (status, problem) = target.upload(&operator, with_example).await;
        assert_eq!(
            (status, &problem["refusal"]),
            (422, &json!("example-does-not-bind")),
            "{problem:#}"
        );
        for _ in 0..4 {
            let call = client().post(target.url("/events")).bearer_auth(&operator).json(&event);
            let answer = call.send().await.expect("an answer");
            assert_eq!(answer.status(), 422);
            let problem: Value = answer.json().await.expect("a problem");
            assert_eq!(problem["errors"][0]["pointer"], "/condition/params", "{problem:#}");
            assert!(
                problem["detail"].to_string().contains("more than 50000 steps"),
                "{problem:#}"
            );
        }
    };
    target.holds(attack).await;
}

#[apply(on_both_engines)]
async fn a_slow_pattern_stops_nobody(app: TestApp) {
    let target = Target::start(app, &[]).await;
    let operator = target.fixtures.operator().await;
    let slow = "[ab]*a[ab]{1000}[c-z]";
    let letters = |count: usize| "ab".repeat(count / 2);
    let schemas = [
        json!({"type": "object", "properties": {"a": {"pattern": slow, "default": letters(40_000)}}}),
        json!({"type": "object", "default": {"a": letters(16_000)}, "properties": {"a": {"pattern": slow}}}),
        json!({
            "type": "object",
            "$defs": {"slow": {"pattern": slow}},
            "default": {"a": letters(4_000)},
            "properties": {"a": {"allOf": vec![json!({"$ref": "#/$defs/slow"}); 20]}},
        }),
    ];
    let modules = schemas.iter().enumerate();
    let modules: Vec<_> = modules
        .map(|(number, schema)| with_schema(&format!("slow-{number}"), schema))
        .collect();
    let attack = async {
        for module in modules {
            let (status, answer) = target.upload(&operator, module).await;
            // Too large a pattern, too expensive an example, or a guess at an example that is left out.
            assert!(
                status == 201 || (status == 422 && answer["code"] == "plugin-refused"),
                "{answer:#}"
            );
        }
    };
    target.holds(attack).await;
}
