//! The cases that a module carries, in a custom section: the JSON array of them.

use super::Case;
use crate::sandbox::{UploadRefusal, custom_sections, with_custom_section};

/// The name of the custom section.
pub const SECTION: &str = "meed-cases";

/// The maximum number of cases in a module. An upload runs each of them twice.
const MAX_CASES: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    #[error("{0}")]
    Module(#[from] UploadRefusal),
    #[error("the module has {0} sections named {SECTION:?}; the maximum is one")]
    Several(usize),
    #[error("the section {SECTION:?} is not an array of cases: {0}")]
    Json(#[from] serde_path_to_error::Error<serde_json::Error>),
    #[error("the section {SECTION:?} has {0} cases, the limit is {MAX_CASES}")]
    TooMany(usize),
    #[error("the cases are not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// The cases of a module; empty if it has no such section.
pub fn read(module: &[u8]) -> Result<Vec<Case>, SectionError> {
    let json = match custom_sections(module, SECTION)?.as_slice() {
        [] => return Ok(Vec::new()),
        [json] => *json,
        several => return Err(SectionError::Several(several.len())),
    };
    let mut json = serde_json::Deserializer::from_slice(json);
    let cases: Vec<Case> = serde_path_to_error::deserialize(&mut json)?;
    json.end()?;
    if cases.len() > MAX_CASES {
        return Err(SectionError::TooMany(cases.len()));
    }
    Ok(cases)
}

/// Adds cases to a module without cases.
pub fn embed(module: Vec<u8>, cases: &[Case]) -> Result<Vec<u8>, SectionError> {
    if cases.len() > MAX_CASES {
        return Err(SectionError::TooMany(cases.len()));
    }
    Ok(with_custom_section(module, SECTION, &serde_json::to_vec(cases)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: [u8; 8] = *b"\0asm\x01\0\0\0";

    fn case() -> Case {
        serde_json::from_str(r#"{"params": {"days": 7}, "facts": [{"integer": 3}], "expect": {"failure": "trap"}}"#)
            .unwrap()
    }

    #[test]
    fn embedded_cases_are_read_again() {
        let module = embed(EMPTY.to_vec(), &[case(), case()]).unwrap();
        assert_eq!(read(&module).unwrap(), [case(), case()]);
        assert_eq!(read(&EMPTY).unwrap(), []);
    }

    #[test]
    fn two_sections_too_many_cases_and_invalid_cases_are_rejected() {
        let once = embed(EMPTY.to_vec(), &[case()]).unwrap();
        assert!(matches!(
            read(&embed(once, &[case()]).unwrap()),
            Err(SectionError::Several(2))
        ));
        assert!(matches!(
            embed(EMPTY.to_vec(), &vec![case(); 257]),
            Err(SectionError::TooMany(257))
        ));
        let other = with_custom_section(EMPTY.to_vec(), SECTION, br#"[{"params": {}, "expected": 1}]"#);
        let error = read(&other).unwrap_err().to_string();
        assert!(error.contains("[0].expected"), "{error}");
        let more = with_custom_section(EMPTY.to_vec(), SECTION, b"[] and more");
        assert!(matches!(read(&more), Err(SectionError::NotJson(_))));
    }
}
