//! Custom sections of a module, which the WebAssembly engine ignores.

use wasm_encoder::{CustomSection, Encode as _};
use wasmparser::{Parser, Payload};

use super::UploadRefusal;

/// The contents of the custom sections with this name at the top level, in order.
pub fn custom_sections<'a>(module: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>, UploadRefusal> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(|error| UploadRefusal::Malformed(error.to_string()))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == name => found.push(section.data()),
            _ => {}
        }
    }
    Ok(found)
}

/// Appends a custom section to a core module or component.
#[must_use]
pub fn with_custom_section(mut module: Vec<u8>, name: &str, content: &[u8]) -> Vec<u8> {
    // 0 is the id of custom sections.
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
    fn custom_sections_are_found_by_name_at_the_top_level() {
        let inner = with_custom_section(b"\0asm\x01\0\0\0".to_vec(), "cases", b"inner");
        assert_eq!(custom_sections(&inner, "cases"), Ok(vec![b"inner".as_slice()]));
        assert_eq!(custom_sections(&inner, "other"), Ok(Vec::new()));

        // A component (version 13, layer 1) that contains the module (section 1).
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.push(1);
        component.push(u8::try_from(inner.len()).unwrap());
        component.extend(&inner);
        assert_eq!(custom_sections(&component, "cases"), Ok(Vec::new()));
        let component = with_custom_section(component, "cases", b"outer");
        assert_eq!(custom_sections(&component, "cases"), Ok(vec![b"outer".as_slice()]));
    }
}
