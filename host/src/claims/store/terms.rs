//! `receipt_terms`: the terms that receipts name by their digest.

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::db::{Db, Result};
use crate::sandbox::Digest;

/// Terms that some receipts name.
#[derive(Debug)]
pub(in crate::claims) struct TermsRow {
    pub digest: Digest,
    /// Canonical JSON, until this process knows that it is stored.
    unstored: Mutex<Option<String>>,
}

impl TermsRow {
    pub(in crate::claims) fn new(digest: Digest, text: String) -> Self {
        let unstored = Mutex::new(Some(text));
        Self { digest, unstored }
    }

    /// Terms that the database has.
    pub(in crate::claims) fn stored(digest: Digest) -> Self {
        let unstored = Mutex::default();
        Self { digest, unstored }
    }

    /// The text, if it must be stored before a receipt that names it.
    pub(in crate::claims) fn unstored(&self) -> Option<String> {
        self.unstored.lock().clone()
    }

    /// To be called after the commit.
    pub(in crate::claims) fn on_stored(&self) {
        self.unstored.lock().take();
    }
}

/// Stores canonical terms, unless they are stored already.
pub(in crate::claims) async fn insert(db: &Db, digest: Digest, terms: String, at: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO receipt_terms (digest, terms, created_at) VALUES ($1, $2, $3) \
        ON CONFLICT (digest) DO NOTHING";
    let mut tx = db.begin().await?;
    tx.query(SQL).bind(digest).bind(terms).bind(at).execute(&mut tx).await?;
    tx.commit().await
}

pub(in crate::claims) async fn find(db: &Db, digest: Digest) -> Result<Option<String>> {
    const SQL: &str = "SELECT terms FROM receipt_terms WHERE digest = $1";
    let row: Option<(String,)> = db.query(SQL).bind(digest).fetch_optional(db).await?;
    Ok(row.map(|(terms,)| terms))
}
