//! Fuzzes the whole admission of a module: structure, compilation, types and `describe`; then `bind` and `evaluate`.

use std::path::Path;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use meed_host::sandbox::Digest;
use wasm_smith::{Component, Config, Module};
use wit_component::StringEncoding;
use wit_parser::{Resolve, WorldId};

use crate::decision::{keeps_to_the_contract, repeats};
use crate::{RUNTIME, SANDBOX, context, evaluate};

static CONTRACT: LazyLock<(Resolve, WorldId)> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk/wit/v1");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("condition")).unwrap();
    (resolve, world)
});

/// Embeds the metadata of the condition world into a core module.
pub(crate) fn with_metadata(mut module: Vec<u8>) -> Vec<u8> {
    let (resolve, world) = &*CONTRACT;
    wit_component::embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8).unwrap();
    module
}

/// The exports of a condition. The fuzz input determines its behaviour.
const SHAPE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "describe") (result i32) unreachable)
    (func (export "bind") (param i32 i32) (result i32) unreachable)
    (func (export "evaluate") (param i32) (result i32) unreachable))"#;

/// The first byte chooses how to use the other bytes.
pub fn gate(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let mut input = Unstructured::new(rest);
    let module = match choice % 8 {
        0 => Some(with_metadata(rest.to_vec())),
        1 => Some(with_metadata(damaged(rest))),
        2 => input
            .arbitrary::<Component>()
            .ok()
            .map(|component| component.to_bytes()),
        // All of WebAssembly, including proposals.
        3 => input
            .arbitrary::<Module>()
            .ok()
            .map(|module| with_metadata(module.to_bytes())),
        _ => Module::new(condition(), &mut input)
            .ok()
            .map(|module| with_metadata(module.to_bytes())),
    };
    if let Some(module) = module {
        upload(module);
    }
}

/// A module with the exports of a condition, and only features that the sandbox accepts.
fn condition() -> Config {
    Config {
        module_shape: Some(wat::parse_str(SHAPE).unwrap()),
        gc_enabled: false,
        exceptions_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_tables: 4,
        max_table_elements: 1_000,
        max_imports: 0,
        ..Config::default()
    }
}

/// A valid module in which the input replaces single bytes: three input bytes per change, two for the offset and one
/// for the value.
fn damaged(changes: &[u8]) -> Vec<u8> {
    let mut module = wat::parse_str(include_str!("mirror.wat")).unwrap();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % module.len();
        module[at] = change[2];
    }
    module
}

fn upload(module: Vec<u8>) {
    let admitted = RUNTIME.block_on(SANDBOX.admit(module.clone()));
    if let Err(refusal) = &admitted {
        let text = refusal.to_string();
        assert!(!text.contains("panic"), "{text}");
    }
    // A module whose `describe` fails is loaded anyway, so that the rest of it also runs.
    let Ok(plugin) = RUNTIME.block_on(SANDBOX.load(Digest::of(&module), module)) else {
        assert!(admitted.is_err(), "an admitted module is not loaded");
        return;
    };
    let bind = || RUNTIME.block_on(SANDBOX.bind(&plugin, "{}"));
    repeats(&bind(), &bind());
    let call = evaluate(&plugin, &[7]);
    repeats(&call, &evaluate(&plugin, &[7]));
    if let Ok(decision) = call.outcome {
        keeps_to_the_contract(&decision, &context());
    }
}
