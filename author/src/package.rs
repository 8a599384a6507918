//! Turns the output of a language's compiler into the component to upload.
//!
//! The result imports only the log and contains no debug information. Must not know: the language and how its compiler
//! is called.

use anyhow::{Context as _, bail, ensure};
use wasmparser::{ComponentTypeRef, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use meed_host::sandbox::{IMPORTS, UploadRefusal};

/// The contract as WIT, for compilers that read it.
pub(crate) const CONTRACT: &str = include_str!("../../plugin-sdk/wit/v1/condition.wit");
const CONTRACT_NAME: &str = "condition.wit";
const WORLD: &str = "condition";

const WASI: &str = "wasi_snapshot_preview1";
/// Compiled from `without_wasi.wat`, so that a build needs no compiler of the text format; a test compares both.
const WITHOUT_WASI: &[u8] = include_bytes!("without_wasi.wasm");

/// Turns a core module into a component. A module without a world gets the contract's world.
pub(crate) fn componentise(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut module = module.to_vec();
    let mut has_metadata = false;
    let mut needs_wasi = false;
    for payload in Parser::new(0).parse_all(&module) {
        match payload.context("read what the compiler made")? {
            Payload::CustomSection(section) => has_metadata |= section.name().starts_with("component-type"),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    needs_wasi |= import?.module == WASI;
                }
            }
            _ => {}
        }
    }
    if !has_metadata {
        let mut resolve = Resolve::default();
        let package = resolve.push_str(CONTRACT_NAME, CONTRACT)?;
        let world = resolve.select_world(&[package], Some(WORLD))?;
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .context("the module does not fit the contract")?;
    if needs_wasi {
        encoder = encoder.adapter(WASI, WITHOUT_WASI)?;
    }
    encoder.encode().context("the module does not fit the contract")
}

/// Renames an export of a component to a name of the same length, without changing other bytes.
pub(crate) fn rename_export(component: &mut [u8], from: &str, to: &str) -> anyhow::Result<()> {
    ensure!(from.len() == to.len(), "{from:?} and {to:?} must be equally long");
    let mut found = None;
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ComponentExportSection(section) = payload? {
            for export in section {
                let name = export?.name.name;
                if name == from {
                    found = Some(name.as_ptr().addr() - component.as_ptr().addr());
                }
            }
        }
    }
    let start = found.with_context(|| format!("the component does not export {from:?}"))?;
    component[start..start + to.len()].copy_from_slice(to.as_bytes());
    Ok(())
}

/// The module to upload: the component without names and debug information, verified to import only the log.
pub(crate) fn finish(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(
        Parser::is_component(component),
        "the compiler did not produce a component"
    );
    let stripped = without_custom_sections(component).context("the component is damaged")?;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(&stripped) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import?;
                    // A named type is not a real import.
                    let is_type = matches!(import.ty, ComponentTypeRef::Type(_));
                    if !is_type && !IMPORTS.contains(&import.name.name) {
                        bail!(UploadRefusal::Import(import.name.name.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(stripped)
}

/// A section consists of an id, a length and that many bytes. Nested modules and components have the same format.
fn without_custom_sections(bytes: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 8;
    const CUSTOM: u8 = 0;
    const CORE_MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let is_component = Parser::is_component(header);
    let mut kept = header.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let (length, after) = length(after)?;
        let (section, after) = after.split_at_checked(length)?;
        rest = after;
        if id == CUSTOM {
            continue;
        }
        let inner;
        let section = if is_component && [CORE_MODULE, COMPONENT].contains(&id) {
            inner = without_custom_sections(section)?;
            &inner[..]
        } else {
            section
        };
        kept.push(id);
        push_length(&mut kept, section.len());
        kept.extend_from_slice(section);
    }
    Some(kept)
}

/// LEB128, at most 32 bits.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

fn push_length(to: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        to.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    to.push(u8::try_from(length).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MODULE: &str = r#"(module $named
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
        (func (export "describe") (result i32) (i32.const 8))
        (func (export "bind") (param i32 i32) (result i32) (i32.const 8))
        (func (export "evaluate") (param i32) (result i32)
          (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0))) (i32.const 8)))"#;

    fn component() -> Vec<u8> {
        componentise(&wat::parse_str(MODULE).unwrap()).unwrap()
    }

    fn custom_sections(component: &[u8]) -> usize {
        Parser::new(0)
            .parse_all(component)
            .filter(|payload| matches!(payload, Ok(Payload::CustomSection(_))))
            .count()
    }

    #[test]
    fn a_module_that_imports_wasi_becomes_a_small_component_without_it() {
        let component = component();
        let finished = finish(&component).unwrap();
        assert!(custom_sections(&component) > 0);
        assert_eq!(custom_sections(&finished), 0);
        assert!(finished.len() < component.len());
        wasmparser::Validator::new().validate_all(&finished).unwrap();
    }

    #[test]
    fn the_replacement_is_the_compiled_text() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let compiled = wat::parse_file(directory.join("without_wasi.wat")).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(directory.join("without_wasi.wasm"), &compiled).unwrap();
        } else {
            assert!(
                compiled == WITHOUT_WASI,
                "without_wasi.wasm is not without_wasi.wat; UPDATE_DOCS=1 writes it again"
            );
        }
    }

    #[test]
    fn every_function_of_wasi_has_a_replacement() {
        wasmparser::Validator::new().validate_all(WITHOUT_WASI).unwrap();
        let exports = Parser::new(0)
            .parse_all(WITHOUT_WASI)
            .find_map(|payload| match payload {
                Ok(Payload::ExportSection(section)) => Some(section.count()),
                _ => None,
            });
        assert_eq!(exports, Some(46), "wasi_snapshot_preview1 has 46 functions");
    }

    #[test]
    fn any_other_import_is_named() {
        let component = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#).unwrap();
        let fault = finish(&component).unwrap_err().to_string();
        assert!(fault.contains("wasi:clocks/wall-clock@0.2.0"), "{fault}");
        assert!(finish(&wat::parse_str("(module)").unwrap()).is_err());
    }

    #[test]
    fn an_export_is_renamed() {
        let mut component = component();
        rename_export(&mut component, "bind", "bond").unwrap();
        assert!(rename_export(&mut component, "bind", "bond").is_err());
        rename_export(&mut component, "bond", "bind").unwrap();
        assert_eq!(component, self::component());
        assert!(rename_export(&mut component, "bind", "binds").is_err());
    }
}
