//! The way of an upload into the sandbox, and every reason to turn it away.
//!
//! In order of cost: size, structure, imports; componentise and compile in a killable process; types of imports and
//! exports; then `describe`, twice, under all limits.

use super::Failure;

/// Why an upload is not a plugin. The text names the offending item and the limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the upload has {found} bytes, the limit is {limit}")]
    TooLarge { found: usize, limit: usize },
    #[error("the upload is not WebAssembly: {0}")]
    NotWasm(&'static str),
    #[error("the upload is damaged: {0}")]
    Malformed(String),
    #[error("too many {what}: {found}, the limit is {limit}")]
    Structure { what: &'static str, found: u64, limit: u64 },
    #[error(
        "the module does not say which component it implements (no component-type section); build it with the plugin \
         SDK or wit-bindgen, or turn it into a component with wasm-tools component new"
    )]
    NoMetadata,
    #[error("the plugin imports {0:?}, but a plugin may import nothing except meed:condition/log@1.0.0")]
    Import(String),
    #[error("the plugin does not implement the world meed:condition/condition@1.0.0: {0}")]
    World(String),
    #[error("the plugin does not compile: {0}")]
    Compile(String),
    #[error("the plugin costs too much to compile: {0}")]
    CompileLimit(String),
    #[error("the plugin cannot describe itself: {0}")]
    Describe(Failure),
    #[error("the plugin's manifest is not valid: {0}")]
    Manifest(String),
    #[error(
        "the plugin describes itself differently the second time, or with other fuel; describe must always do the same"
    )]
    DescribesDifferently,
    /// Not the upload's fault.
    #[error("the sandbox cannot look at the upload now: {0}")]
    Unavailable(String),
}

impl Refusal {
    /// Stable, for clients.
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

    /// The same bytes may be admitted at another time.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Describe(failure) => !failure.is_deterministic() && *failure != Failure::Stack,
            _ => false,
        }
    }
}
