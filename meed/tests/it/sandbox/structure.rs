//! One upload per structural limit, one item above it. All are refused before compilation.

use meed_host::sandbox::{Sandbox, Settings, UploadRefusal};

use crate::guests::Condition;

async fn scan(bytes: Vec<u8>) -> UploadRefusal {
    // There is no compiler, so an upload that passes the structure check is refused as unavailable.
    let sandbox = Sandbox::new(&Settings::default(), "/nowhere/meed".into(), None).unwrap();
    sandbox.admit(bytes).await.unwrap_err()
}

async fn exceeds(what: &str, found: u64, limit: u64, bytes: Vec<u8>) {
    assert_eq!(
        scan(bytes).await.to_string(),
        format!("too many {what}: {found}, the limit is {limit}")
    );
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

fn module(items: String) -> Vec<u8> {
    Condition {
        items,
        ..Condition::default()
    }
    .module()
}

#[tokio::test]
async fn a_valid_upload_passes() {
    assert_eq!(scan(Condition::default().module()).await.code(), "unavailable");
    assert_eq!(scan(Condition::default().component()).await.code(), "unavailable");
}

#[tokio::test]
async fn components_in_components() {
    exceeds("nested components", 1, 0, component("(component)")).await;
}

#[tokio::test]
async fn core_modules() {
    exceeds("core modules", 5, 4, component(&"(core module)".repeat(5))).await;
}

#[tokio::test]
async fn core_instances() {
    let instances = "(core instance (instantiate $m))".repeat(9);
    exceeds(
        "core instances",
        9,
        8,
        component(&format!("(core module $m) {instances}")),
    )
    .await;
}

#[tokio::test]
async fn functions() {
    // Including the four of the valid condition.
    exceeds("functions", 10_001, 10_000, module("(func)".repeat(9_997))).await;
}

#[tokio::test]
async fn bytes_of_a_function() {
    exceeds(
        "bytes of a function",
        65_537,
        65_536,
        module(format!("(func {})", "nop ".repeat(65_535))),
    )
    .await;
}

#[tokio::test]
async fn locals_of_a_function() {
    let local = "(local i32) ".repeat(501);
    exceeds("locals of a function", 501, 500, module(format!("(func {local})"))).await;
}

#[tokio::test]
async fn locals_of_all_functions() {
    let local = "(local i32) ".repeat(500);
    exceeds(
        "locals of all functions",
        50_500,
        50_000,
        module(format!("(func {local})").repeat(101)),
    )
    .await;
}

#[tokio::test]
async fn parameters_of_a_function() {
    let (params, results) = ("(param i32) ".repeat(101), "(result i32) ".repeat(101));
    exceeds(
        "parameters of a function",
        101,
        100,
        module(format!("(type (func {params}))")),
    )
    .await;
    exceeds(
        "results of a function",
        101,
        100,
        module(format!("(type (func {results}))")),
    )
    .await;
}

#[tokio::test]
async fn blocks_of_a_function() {
    let blocks = "(block)".repeat(4_097);
    exceeds("blocks of a function", 4_097, 4_096, module(format!("(func {blocks})"))).await;
}

#[tokio::test]
async fn blocks_within_blocks() {
    let (open, close) = ("block ".repeat(257), "end ".repeat(257));
    exceeds(
        "nested blocks in a function",
        257,
        256,
        module(format!("(func {open} {close})")),
    )
    .await;
    // Consecutive blocks are not nested.
    let beside = "block end ".repeat(1_000);
    assert_eq!(scan(module(format!("(func {beside})"))).await.code(), "unavailable");
}

#[tokio::test]
async fn items_of_element_segments() {
    let items = "$f ".repeat(5_001);
    exceeds(
        "items of element segments",
        10_002,
        10_000,
        module(format!("(func $f) (elem func {items}) (elem func {items})")),
    )
    .await;
}

#[tokio::test]
async fn items_of_many_sections() {
    let text = component(&"(type u8)".repeat(5_001));
    let (header, section) = text.split_at(8);
    exceeds("component types", 10_002, 10_000, [header, section, section].concat()).await;
}

#[tokio::test]
async fn loops_of_a_function() {
    exceeds(
        "loops of a function",
        257,
        256,
        module(format!("(func {})", "(loop)".repeat(257))),
    )
    .await;
}

#[tokio::test]
async fn loops_of_all_functions() {
    let function = format!("(func {})", "(loop)".repeat(256));
    exceeds("loops of all functions", 20_224, 20_000, module(function.repeat(79))).await;
}

#[tokio::test]
async fn targets_of_a_branch() {
    let targets = "0 ".repeat(4_098);
    exceeds(
        "targets of a br_table",
        4_097,
        4_096,
        module(format!("(func (br_table {targets} (i32.const 0)))")),
    )
    .await;
}

#[tokio::test]
async fn data_segments() {
    // Including the one of the valid condition.
    exceeds("data segments", 1_025, 1_024, module(r#"(data "x")"#.repeat(1_024))).await;
}

#[tokio::test]
async fn memory_at_the_start() {
    let bytes = Condition {
        spare_pages: 32,
        ..Condition::default()
    }
    .module();
    exceeds("bytes of memory at the start", 33 << 16, 2 << 20, bytes).await;
}

#[tokio::test]
async fn memories() {
    exceeds(
        "memories",
        2,
        1,
        component("(core module (memory 1)) (core module (memory 1))"),
    )
    .await;
}

/// The engine supports modules with two memories, which it uses for its own adapters.
#[tokio::test]
async fn memories_of_one_module() {
    let settings = Settings {
        language_runtimes: true,
        ..Settings::default()
    };
    let sandbox = Sandbox::new(&settings, "/nowhere/meed".into(), None).unwrap();
    for two in ["(memory 1) (memory 1)", r#"(import "a" "b" (memory 1)) (memory 1)"#] {
        let refusal = sandbox
            .admit(component(&format!("(core module {two})")))
            .await
            .unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "too many memories of one module: 2, the limit is 1"
        );
    }
    let apart = component("(core module (memory 1)) (core module (memory 1))");
    assert_eq!(sandbox.admit(apart).await.unwrap_err().code(), "unavailable");
}

#[tokio::test]
async fn tables() {
    exceeds("tables", 5, 4, module("(table 1 funcref)".repeat(5))).await;
}

#[tokio::test]
async fn table_elements_at_the_start() {
    exceeds(
        "table elements at the start",
        10_001,
        10_000,
        module("(table 5000 funcref)(table 5001 funcref)".to_owned()),
    )
    .await;
}

#[tokio::test]
async fn bytes_of_custom_sections() {
    let section = format!(r#"(@custom "notes" "{}")"#, "x".repeat(200_000));
    let bytes = wat::parse_str(format!("(module {})", section.repeat(2))).unwrap();
    exceeds("bytes of custom sections", 400_000, 262_144, bytes).await;
}

#[tokio::test]
async fn items_of_a_section() {
    let items =
        |count: usize, item: &dyn Fn(usize) -> String| module((0..count).map(item).collect::<Vec<_>>().concat());
    let refused = |what: &'static str, bytes| exceeds(what, 10_001, 10_000, bytes);
    refused("types", items(9_997, &|i| format!("(type $t{i} (func))"))).await;
    refused("globals", items(10_000, &|_| "(global i32 (i32.const 0))".to_owned())).await;
    refused("exports", items(9_996, &|i| format!(r#"(export "e{i}" (memory 0))"#))).await;
    refused("element segments", items(10_001, &|_| "(elem func)".to_owned())).await;
    refused("component types", component(&"(type u8)".repeat(10_001))).await;
}

#[tokio::test]
async fn no_changed_byte_breaks_the_structure_check() {
    let sandbox = Sandbox::new(&Settings::default(), "/nowhere/meed".into(), None).unwrap();
    for honest in [Condition::default().module(), Condition::default().component()] {
        for at in 0..honest.len() {
            for value in [0, 0x7f, 0xff, honest[at].wrapping_add(1)] {
                let mut bytes = honest.clone();
                bytes[at] = value;
                let refusal = sandbox.admit(bytes).await.unwrap_err();
                assert!(!refusal.to_string().contains("panic"), "byte {at} = {value}: {refusal}");
            }
        }
    }
}
