//! The reasons for which the sandbox refuses an upload.
//!
//! The checks run in order of cost: size, structure and imports; conversion to a component and compilation in a child
//! process; the types of imports and exports; then `describe`, twice, under all limits.

use super::Failure;

/// Why the sandbox refuses an upload. The message names the offending item and the limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadRefusal {
    #[error("the upload has {found} bytes, the limit is {limit}")]
    TooLarge { found: usize, limit: usize },
    #[error("the upload is not WebAssembly: {0}")]
    NotWasm(&'static str),
    #[error("the upload is malformed: {0}")]
    Malformed(String),
    #[error("too many {what}: {found}, the limit is {limit}")]
    Structure { what: &'static str, found: u64, limit: u64 },
    #[error(
        "the module does not say which component it implements (no component-type section). Build it with the plugin \
         SDK or wit-bindgen, or convert it with `wasm-tools component new`"
    )]
    NoMetadata,
    #[error("the plugin imports {0:?}; the only allowed import is meed:condition/log@1.0.0")]
    Import(String),
    #[error("the plugin does not implement the world meed:condition/condition@1.0.0: {0}")]
    World(String),
    #[error("the plugin does not compile: {0}")]
    Compile(String),
    #[error("the plugin exceeds a compile limit: {0}")]
    CompileLimit(String),
    #[error("the plugin's describe failed: {0}")]
    Describe(Failure),
    #[error("the plugin's manifest is invalid: {0}")]
    Manifest(String),
    #[error("two calls of the plugin's describe differ in their result or fuel; describe must be deterministic")]
    DescribesDifferently,
    /// The upload is not the cause.
    #[error("the sandbox cannot check the upload now: {0}")]
    Unavailable(String),
}

impl UploadRefusal {
    /// A stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::NotWasm(_) => "not-wasm",
            Self::Malformed(_) => "malformed",
            Self::Structure { .. } => "structure-limit",
            Self::NoMetadata => "no-metadata",
            Self::Import(_) => "import-not-allowed",
            Self::World(_) => "wrong-world",
            Self::Compile(_) => "does-not-compile",
            Self::CompileLimit(_) => "compile-limit",
            Self::Describe(_) => "describe-failed",
            Self::Manifest(_) => "bad-manifest",
            Self::DescribesDifferently => "describes-differently",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Whether the same bytes may be admitted at another time.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Describe(failure) => !failure.is_deterministic() && *failure != Failure::Stack,
            _ => false,
        }
    }
}
