//! A leaf of the log, and the bytes that are hashed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::source::Record;
use crate::merkle::{self, Hash};
use crate::sandbox::Digest;

/// What a leaf says about one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TransparencyLeaf)]
pub struct Leaf {
    #[schema(example = "claim-granted")]
    pub kind: String,
    /// The id of the row
    pub id: Uuid,
    /// The `digest` of the receipt; null if the row has none
    #[schema(value_type = Option<String>)]
    pub document: Option<Digest>,
    /// The digest of what never changes in the row
    #[schema(value_type = String)]
    pub content: Digest,
}

impl Leaf {
    /// The lines that are hashed. The first one names their purpose, so that they are mistaken for nothing else.
    pub fn bytes(&self) -> Vec<u8> {
        let document = self
            .document
            .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        let Self { kind, id, content, .. } = self;
        format!("meed-leaf/1\n{kind}\n{id}\n{document}\n{content}\n").into_bytes()
    }

    pub fn hash(&self) -> Hash {
        merkle::leaf(&self.bytes())
    }
}

impl From<Record> for Leaf {
    fn from(record: Record) -> Self {
        Self {
            kind: record.kind.to_owned(),
            id: record.id,
            document: record.document,
            content: record.content,
        }
    }
}
