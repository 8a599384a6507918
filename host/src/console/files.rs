//! The files of the built console, which the executable contains.

use std::collections::BTreeMap;

/// The page for every path that is no file.
const PAGE: &str = "index.html";
/// The build names the files below it by their content.
const HASHED: &str = "assets/";

/// The files by their path; empty in an executable that was built without the console.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<&'static str, &'static [u8]>);

/// A file to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub content: &'static [u8],
    pub content_type: &'static str,
    pub is_gzip: bool,
    /// The content of this path never changes.
    pub is_immutable: bool,
}

impl Files {
    /// Paths without a leading slash. A file may have a copy with the ending `.gz`.
    pub fn new(files: impl IntoIterator<Item = (&'static str, &'static [u8])>) -> Self {
        Self(files.into_iter().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.0.contains_key(PAGE)
    }

    /// The file of this path; the page for the path of a screen; `None` for an asset that this build does not have.
    pub(super) fn find(&self, path: &str, accepts_gzip: bool) -> Option<File> {
        let is_hashed = path.starts_with(HASHED);
        let (path, content) = match self.0.get_key_value(path) {
            Some((path, content)) => (*path, *content),
            None if is_hashed => return None,
            None => (PAGE, *self.0.get(PAGE)?),
        };
        let content_type = content_type(path);
        let compressed = self.0.get(format!("{path}.gz").as_str());
        let (content, is_gzip) = match compressed {
            Some(compressed) if accepts_gzip => (*compressed, true),
            _ => (content, false),
        };
        Some(File {
            content,
            content_type,
            is_gzip,
            is_immutable: is_hashed,
        })
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_get_the_page_and_unknown_assets_nothing() {
        let files = Files::new([
            ("index.html", b"page".as_slice()),
            ("assets/a.js", b"code"),
            ("assets/a.js.gz", b"gzip"),
        ]);
        let found = |path: &str, gzip| {
            files
                .find(path, gzip)
                .map(|file| (file.content, file.is_gzip, file.is_immutable))
        };
        assert_eq!(found("", false), Some((b"page".as_slice(), false, false)));
        assert_eq!(found("claims/7", true), Some((b"page".as_slice(), false, false)));
        assert_eq!(found("assets/a.js", false), Some((b"code".as_slice(), false, true)));
        assert_eq!(found("assets/a.js", true), Some((b"gzip".as_slice(), true, true)));
        assert_eq!(found("assets/b.js", true), None);
        assert_eq!(Files::default().find("", true), None);
    }
}
