//! Refused uploads and their codes.

use meed_host::sandbox::{Digest, Failure, Sandbox, Settings, UploadRefusal};

use super::{sandbox, sandbox_with};
use crate::bombs::branches;
use crate::guests::{Condition, ENDLESS, Manifest, with_metadata};

async fn refusal(bytes: Vec<u8>) -> UploadRefusal {
    sandbox().admit(bytes).await.unwrap_err()
}

/// Asserts the code, and that the message contains `says`.
async fn refused(bytes: Vec<u8>, code: &str, says: &str) {
    let refusal = refusal(bytes).await;
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(refusal.to_string().contains(says), "{refusal}");
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_core_module_with_metadata_is_admitted_and_loaded_once_stored() {
    let sandbox = sandbox();
    let module = Condition::default().module();
    let admitted = sandbox.admit(module.clone()).await.unwrap();
    assert_eq!(admitted.digest, Digest::of(&module));
    assert_eq!(admitted.abi, "meed:condition/condition@1.0.0");
    assert_eq!(admitted.bytes, module.len());
    assert_eq!(
        (admitted.manifest.name.as_str(), admitted.manifest.version.as_str()),
        ("honest", "1.2.3")
    );
    assert_eq!(admitted.manifest.params_schema, serde_json::json!({"type": "object"}));
    assert!(sandbox.loaded(admitted.digest).is_none());
    sandbox.store(&admitted).await.unwrap();
    assert_eq!(sandbox.loaded(admitted.digest).unwrap().digest(), admitted.digest);
}

#[tokio::test]
async fn a_component_is_admitted() {
    sandbox().admit(Condition::default().component()).await.unwrap();
}

#[tokio::test]
async fn exports_beyond_the_world_are_tolerated() {
    let items = r#"(func (export "surplus") (result i32) (i32.const 1))"#.to_owned();
    sandbox()
        .admit(
            Condition {
                items,
                ..Condition::default()
            }
            .module(),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn bytes_that_are_not_webassembly() {
    refused(Vec::new(), "not-wasm", "empty").await;
    refused(b"(module)".to_vec(), "not-wasm", "\\0asm").await;
    refused(b"\x7fELF\x02\x01\x01".to_vec(), "not-wasm", "machine code").await;
    refused(b"\0asm\x02\0\0\0".to_vec(), "not-wasm", "unknown version").await;
    refused(b"\0as".to_vec(), "not-wasm", "\\0asm").await;
}

#[tokio::test]
async fn uploads_that_are_too_large() {
    let mut bytes = Condition::default().module();
    bytes.resize((1 << 20) + 1, 0);
    refused(bytes, "too-large", "1048577 bytes, the limit is 1048576").await;
}

#[tokio::test]
async fn truncated_and_corrupt_uploads() {
    let module = Condition::default().module();
    for end in [9, module.len() / 2, module.len() - 1] {
        refused(module[..end].to_vec(), "malformed", "").await;
    }
    refused([b"\0asm\x01\0\0\0", &[0xff; 64][..]].concat(), "malformed", "").await;
}

#[tokio::test]
async fn a_core_module_without_metadata() {
    refused(text(&Condition::default().text()), "no-metadata", "component-type").await;
}

#[tokio::test]
async fn a_core_module_with_broken_metadata() {
    let module = text(r#"(module (@custom "component-type:broken" "\00\01\02\03"))"#);
    refused(module, "wrong-world", "").await;
}

#[tokio::test]
async fn an_import_from_wasi() {
    let imports = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    refused(
        Condition {
            imports,
            ..Condition::default()
        }
        .module(),
        "import-not-allowed",
        "wasi_snapshot_preview1",
    )
    .await;
    let component = text(r#"(component (import "wasi:cli/exit@0.2.0" (instance)))"#);
    refused(component, "import-not-allowed", "\"wasi:cli/exit@0.2.0\"").await;
}

#[tokio::test]
async fn an_import_of_another_version_of_the_contract() {
    let component = text(r#"(component (import "meed:condition/log@1.0.1" (instance)))"#);
    refused(component, "import-not-allowed", "\"meed:condition/log@1.0.1\"").await;
}

#[tokio::test]
async fn an_import_that_the_log_interface_does_not_have() {
    let imports = r#"(import "meed:condition/log@1.0.0" "shout" (func (param i32 i32)))"#;
    refused(
        Condition {
            imports,
            ..Condition::default()
        }
        .module(),
        "wrong-world",
        "shout",
    )
    .await;
    let component = text(r#"(component (import "meed:condition/log@1.0.0" (instance (export "shout" (func)))))"#);
    refused(component, "wrong-world", "shout").await;
}

#[tokio::test]
async fn a_component_of_another_world() {
    refused(text("(component)"), "wrong-world", "no export `bind`").await;
    let component = text(
        r#"(component
            (core module $m (func (export "f") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (export "describe" (func $f)) (export "bind" (func $f)) (export "evaluate" (func $f)))"#,
    );
    refused(component, "wrong-world", "bind").await;
}

#[tokio::test]
async fn a_module_without_the_exports_of_its_metadata() {
    let text = Condition::default().text().replace(r#"(export "evaluate")"#, "");
    refused(with_metadata(&text), "wrong-world", "evaluate").await;
}

#[tokio::test]
async fn an_invalid_module() {
    let items = "(func (result i32))".to_owned();
    refused(
        Condition {
            items,
            ..Condition::default()
        }
        .module(),
        "wrong-world",
        "type mismatch",
    )
    .await;
}

#[tokio::test]
async fn disabled_proposals() {
    for (items, says) in [
        ("(func $f (return_call $f))", "tail calls"),
        ("(memory $second 1)", "memories"),
        ("(memory $wide i64 1)", "memories"),
        ("(tag $tag)", "exceptions"),
        ("(type (struct))", "gc"),
        ("(func (param (ref func)))", "function references"),
        ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
        (
            "(func (drop (f32x4.relaxed_min (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            "relaxed",
        ),
    ] {
        let module = Condition {
            items: items.to_owned(),
            ..Condition::default()
        }
        .module();
        let refusal = refusal(module).await;
        assert!(
            ["does-not-compile", "structure-limit", "wrong-world"].contains(&refusal.code()),
            "{items}: {refusal}"
        );
        assert!(refusal.to_string().contains(says), "{items}: {refusal}");
    }
}

/// Each function is within all structural limits, but takes almost a second and 100 MB to compile.
fn bombs() -> String {
    branches(4_000, 250, 499).repeat(8)
}

async fn limited(sandbox: &Sandbox, items: String, says: &str) {
    let bomb = Condition {
        items,
        ..Condition::default()
    };
    let refusal = sandbox.admit(bomb.module()).await.unwrap_err();
    assert_eq!(refusal.code(), "compile-limit", "{refusal}");
    assert!(refusal.to_string().contains(says), "{refusal}");
    // The sandbox still works.
    sandbox.admit(Condition::default().module()).await.unwrap();
}

#[tokio::test]
async fn a_compile_bomb_is_killed_at_the_processor_time_limit() {
    let sandbox = sandbox_with(|settings| settings.standard.compile.cpu_seconds = 1);
    limited(&sandbox, bombs(), "1 s of processor time").await;
}

#[tokio::test]
async fn a_compile_bomb_is_killed_at_the_time_limit() {
    let sandbox = sandbox_with(|settings| settings.standard.compile.wall_seconds = 1);
    limited(&sandbox, bombs(), "more than 1 s to compile").await;
}

#[tokio::test]
async fn a_compile_bomb_is_killed_at_the_memory_limit() {
    let sandbox = sandbox_with(|settings| {
        settings.standard.compile.memory_bytes = 256 << 20;
        // Language runtimes need this limit most.
        settings.standard.upload.function_bytes = 1 << 20;
        settings.standard.upload.function_blocks = 100_000;
        settings.standard.upload.function_locals = 10_000;
    });
    limited(&sandbox, branches(16_000, 250, 2_000), "256 MiB of memory").await;
}

#[tokio::test]
async fn machine_code_beyond_the_limit() {
    let sandbox = sandbox_with(|settings| settings.standard.compile.code_bytes = 100_000);
    // One megabyte, which is more than the capacity of a pipe.
    let items = "(func)".repeat(5_000);
    let condition = Condition {
        items,
        ..Condition::default()
    };
    let refusal = sandbox.admit(condition.module()).await.unwrap_err();
    assert_eq!(refusal.code(), "compile-limit");
    assert!(refusal.to_string().contains("larger than 100000 bytes"), "{refusal}");
}

#[tokio::test]
async fn a_missing_compiler_makes_the_sandbox_unavailable() {
    let sandbox = Sandbox::new(&Settings::default(), "/nowhere/meed".into(), None).unwrap();
    let refusal = sandbox.admit(Condition::default().module()).await.unwrap_err();
    assert_eq!(refusal.code(), "unavailable");
    assert!(refusal.is_temporary());
}

#[tokio::test]
async fn code_of_another_compiler_is_not_loaded() {
    // It exits with 0 and writes no valid code.
    let sandbox = Sandbox::new(&Settings::default(), "/bin/echo".into(), None).unwrap();
    let refusal = sandbox.admit(Condition::default().module()).await.unwrap_err();
    assert_eq!(refusal.code(), "unavailable");
    assert!(refusal.to_string().contains("does not load"), "{refusal}");
}

#[tokio::test]
async fn a_plugin_that_cannot_describe_itself() {
    let failure = |describe| async move {
        match refusal(
            Condition {
                describe,
                ..Condition::default()
            }
            .module(),
        )
        .await
        {
            UploadRefusal::Describe(failure) => failure,
            other => panic!("{other}"),
        }
    };
    assert_eq!(failure(ENDLESS).await, Failure::OutOfFuel { limit: 10_000_000 });
    assert_eq!(failure("unreachable").await.code(), "trap");
    assert_eq!(
        failure("(drop (memory.grow (i32.const 31)))").await.code(),
        "memory-limit"
    );
}

#[tokio::test]
async fn a_start_function_runs_under_the_limits_of_the_call() {
    let items = "(func $start (loop $again (br $again))) (start $start)".to_owned();
    let refusal = refusal(
        Condition {
            items,
            ..Condition::default()
        }
        .module(),
    )
    .await;
    assert_eq!(
        refusal,
        UploadRefusal::Describe(Failure::OutOfFuel { limit: 10_000_000 })
    );
}

#[tokio::test]
async fn a_start_function_with_endless_fuel_ends_at_the_deadline() {
    let sandbox = sandbox_with(|settings| {
        settings.standard.call.setup_fuel = u64::MAX / 2;
        settings.standard.call.setup_deadline_ms = 100;
    });
    let items = "(func $start (loop $again (br $again))) (start $start)".to_owned();
    let refusal = sandbox
        .admit(
            Condition {
                items,
                ..Condition::default()
            }
            .module(),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(refusal, UploadRefusal::Describe(Failure::Deadline(_))),
        "{refusal}"
    );
    assert!(refusal.is_temporary());
}

#[tokio::test]
async fn data_outside_memory_is_a_trap_at_the_start() {
    let items = r#"(data (i32.const 0x7fffffff) "x")"#.to_owned();
    let refusal = refusal(
        Condition {
            items,
            ..Condition::default()
        }
        .module(),
    )
    .await;
    assert!(
        matches!(refusal, UploadRefusal::Describe(Failure::Trap(_))),
        "{refusal}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn manifests_that_violate_the_contract() {
    type Change = fn(&mut Manifest);
    let faults: [(Change, &str); 25] = [
        (
            |manifest| manifest.name = "Login Streak".to_owned(),
            "name \"Login Streak\" must be kebab-case",
        ),
        (|manifest| manifest.name = String::new(), "name \"\""),
        (|manifest| manifest.name = "-a".to_owned(), "name \"-a\""),
        (|manifest| manifest.name = "a--b".to_owned(), "name \"a--b\""),
        (|manifest| manifest.name = "a".repeat(65), "at most 64"),
        (
            |manifest| manifest.version = "1.0".to_owned(),
            "version \"1.0\" must be semver",
        ),
        (|manifest| manifest.version = "v1.0.0".to_owned(), "version \"v1.0.0\""),
        (|manifest| manifest.title = "  ".to_owned(), "title must not be empty"),
        (
            |manifest| manifest.title = "x".repeat(201),
            "title has 201 bytes, the limit is 200",
        ),
        (
            |manifest| manifest.description = "\u{1b}[2J".to_owned(),
            "description \" [2J\" has control characters",
        ),
        (
            |manifest| manifest.labels = vec![("all days", String::new())],
            "label key \"all days\" must be 1 to 64 of",
        ),
        (
            |manifest| manifest.labels = vec![("days", "x".repeat(201))],
            "label has 201 bytes, the limit is 200",
        ),
        (
            |manifest| manifest.labels = vec![("days", String::new()); 2],
            "label \"days\" is there twice",
        ),
        (
            |manifest| manifest.translations = vec![("en_US", "Honest", Vec::new())],
            "language \"en_US\" must be a BCP 47 tag",
        ),
        (
            |manifest| manifest.translations = vec![("", "Honest", Vec::new())],
            "language \"\" must be a BCP 47 tag",
        ),
        (
            |manifest| manifest.translations = vec![("pt-BR", "Honest", Vec::new()), ("pt-br", "Honest", Vec::new())],
            "language \"pt-br\" is there twice",
        ),
        (
            |manifest| manifest.translations = vec![("ko", "Honest", Vec::new()), ("ko", "Honest", Vec::new())],
            "language \"ko\" is there twice",
        ),
        (
            |manifest| manifest.translations = vec![("ko", " ", Vec::new())],
            "title must not be empty",
        ),
        (
            |manifest| {
                const LANGUAGES: [&str; 11] = ["aa", "ab", "ac", "ad", "ae", "af", "ag", "ah", "ai", "aj", "ak"];
                const KEYS: [&str; 32] = [
                    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
                    "u", "v", "w", "x", "y", "z", "A", "B", "C", "D", "E", "F",
                ];
                let labels = KEYS.map(|key| (key, "x".repeat(200))).to_vec();
                manifest.translations = LANGUAGES.map(|language| (language, "T", labels.clone())).to_vec();
            },
            "labels and translations have 70884 bytes of text, the limit is 65536",
        ),
        (
            |manifest| manifest.params_schema = "{".to_owned(),
            "params-schema is not JSON",
        ),
        (
            |manifest| manifest.params_schema = "true".to_owned(),
            "\"type\": \"object\"",
        ),
        (
            |manifest| manifest.params_schema = r#"{"type":"array"}"#.to_owned(),
            "\"type\": \"object\"",
        ),
        (
            |manifest| manifest.params_schema = r#"{"type":"object","properties":{"a":{"type":"nothing"}}}"#.to_owned(),
            "params-schema: ",
        ),
        (
            |manifest| {
                manifest.params_schema = r#"{"type":"object","$ref":"https://example.com/schema.json"}"#.to_owned();
            },
            "params-schema: ",
        ),
        (
            |manifest| {
                manifest.params_schema =
                    r#"{"type":"object","$schema":"http://json-schema.org/draft-07/schema#"}"#.to_owned();
            },
            "2020-12",
        ),
    ];
    let sandbox = sandbox();
    for (change, says) in faults {
        let mut condition = Condition::default();
        change(&mut condition.manifest);
        let refusal = sandbox.admit(condition.module()).await.unwrap_err();
        assert_eq!(refusal.code(), "bad-manifest", "{refusal}");
        assert!(refusal.to_string().contains(says), "{refusal}");
    }
}

#[tokio::test]
async fn schemas_that_cost_too_much_to_validate() {
    let sandbox = sandbox();
    for (schema, says) in [
        (
            format!(
                r#"{{"type":"object","allOf":[{}{{}}]}}"#,
                r#"{"pattern":"a"},"#.repeat(65)
            ),
            "65 patterns in params-schema, the limit is 64",
        ),
        (
            r#"{"type":"object","propertyNames":{"pattern":"(((a{100}){100}){100})"}}"#.to_owned(),
            "params-schema: ",
        ),
        (
            r#"{"type":"object","propertyNames":{"pattern":"(?=a)(a+)+$"}}"#.to_owned(),
            "params-schema: ",
        ),
        (
            r#"{"type":"object","title":"\u0000"}"#.to_owned(),
            "must not contain NUL",
        ),
        (
            format!("{}{}", "[".repeat(200), "]".repeat(200)),
            "params-schema is not JSON: recursion limit",
        ),
    ] {
        let mut condition = Condition::default();
        condition.manifest.params_schema = schema;
        let refusal = sandbox.admit(condition.module()).await.unwrap_err();
        assert_eq!(refusal.code(), "bad-manifest", "{refusal}");
        assert!(refusal.to_string().contains(says), "{refusal}");
    }
}

#[tokio::test]
async fn a_schema_beyond_the_limit() {
    let sandbox = sandbox_with(|settings| settings.standard.call.schema_bytes = 30);
    let mut condition = Condition::default();
    condition.manifest.params_schema = r#"{"type":"object","title":"abc"}"#.to_owned();
    let refusal = sandbox.admit(condition.module()).await.unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("params-schema has 31 bytes, the limit is 30"),
        "{refusal}"
    );
}
