//! Custom sections of a module: bytes that WebAssembly carries and never reads.

use wasm_encoder::{CustomSection, Encode as _};
use wasmparser::{Parser, Payload};

use super::Refusal;

/// The contents of the outermost custom sections with this name, in their order.
pub fn custom_sections<'a>(module: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>, Refusal> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(|error| Refusal::Malformed(error.to_string()))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == name => found.push(section.data()),
            _ => {}
        }
    }
    Ok(found)
}

/// The module, a core module or a component, with one custom section more at its end.
#[must_use]
pub fn with_custom_section(mut module: Vec<u8>, name: &str, content: &[u8]) -> Vec<u8> {
    // The id of custom sections.
    module.push(0);
    let section = CustomSection {
        name: name.into(),
        data: content.into(),
    };
    section.encode(&mut module);
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        let inner = with_custom_section(b"\0asm\x01\0\0\0".to_vec(), "cases", b"inner");
        assert_eq!(custom_sections(&inner, "cases"), Ok(vec![b"inner".as_slice()]));
        assert_eq!(custom_sections(&inner, "other"), Ok(Vec::new()));

        // A component (version 13, layer 1) with that module in it (section 1).
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.push(1);
        component.push(u8::try_from(inner.len()).unwrap());
        component.extend(&inner);
        assert_eq!(custom_sections(&component, "cases"), Ok(Vec::new()));
        let component = with_custom_section(component, "cases", b"outer");
        assert_eq!(custom_sections(&component, "cases"), Ok(vec![b"outer".as_slice()]));
    }
}
