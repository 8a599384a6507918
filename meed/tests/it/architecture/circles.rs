//! Circular dependencies between the files of a feature: such files can only be read and changed together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::names::{self, Name};
use super::rules::FEATURES;

/// Features that still have circles. Remove a feature from the list once it has none.
const ALLOWED: &[&str] = &["activities", "events", "kafka", "plugins", "webhooks"];

/// A module path within `host/src`, such as `claims::queue::intake`.
type Module = Vec<String>;

#[test]
fn the_files_of_a_feature_have_no_circular_dependencies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    super::list(&root.join("host/src"), "host/src", &mut files);
    let mut broken = Vec::new();
    for feature in FEATURES.iter().filter(|feature| !ALLOWED.contains(feature)) {
        let sources: BTreeMap<Module, String> = files
            .iter()
            .filter_map(|file| Some((module_of(file, feature)?, fs::read_to_string(root.join(file)).unwrap())))
            .collect();
        assert!(!sources.is_empty(), "no file of {feature}");
        if let Some(circle) = find_circle(&sources) {
            broken.push(format!("{feature}: {}", circle.join(" -> ")));
        }
    }
    assert!(
        broken.is_empty(),
        "these files need each other; move what both need into a file of its own:\n{}\n",
        broken.join("\n")
    );
}

/// `None` for files of other features, and for files of tests.
fn module_of(file: &str, feature: &str) -> Option<Module> {
    let path = file.strip_prefix("host/src/")?.strip_suffix(".rs")?;
    let module: Module = path.split('/').map(str::to_owned).collect();
    (module[0] == feature && !module.contains(&"tests".to_owned())).then_some(module)
}

/// The files of one circle, with the first file repeated at the end.
fn find_circle(sources: &BTreeMap<Module, String>) -> Option<Vec<String>> {
    let uses: BTreeMap<&Module, BTreeSet<&Module>> = sources
        .iter()
        .map(|(module, text)| (module, used_by(module, text, sources)))
        .collect();
    // A file that uses no remaining file is in no circle.
    let mut open = uses.clone();
    loop {
        let done: Vec<&Module> = open
            .iter()
            .filter(|(_, used)| used.iter().all(|used| !open.contains_key(used)))
            .map(|(module, _)| *module)
            .collect();
        if done.is_empty() {
            break;
        }
        open.retain(|module, _| !done.contains(module));
    }
    let mut at = *open.keys().next()?;
    let mut way = Vec::new();
    while !way.contains(&at) {
        way.push(at);
        at = open[at].iter().find(|used| open.contains_key(**used)).copied()?;
    }
    let start = way.iter().position(|module| *module == at)?;
    way.drain(..start);
    way.push(at);
    Some(way.into_iter().map(|module| module[1..].join("/")).collect())
}

/// The other files of the feature that a file names. The feature's root file is its interface and does not count; nor
/// does a re-export.
fn used_by<'a>(module: &Module, text: &str, sources: &'a BTreeMap<Module, String>) -> BTreeSet<&'a Module> {
    if module.len() == 1 {
        return BTreeSet::new();
    }
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{module:?}: {error}"));
    names::of(without_reexports(tokens))
        .into_iter()
        .filter_map(|(_, name)| match name {
            // A single name is a `mod`, or something local.
            Name::Path(path) if path.len() > 1 => Some(path),
            Name::Path(_) | Name::Text(_) | Name::QueryCall => None,
        })
        .filter_map(|path| {
            let mut named = absolute(module, &path);
            while named.len() > 1 {
                if let Some((used, _)) = sources.get_key_value(&named) {
                    return (used != module).then_some(used);
                }
                named.pop();
            }
            None
        })
        .collect()
}

fn absolute(module: &Module, path: &[String]) -> Module {
    if path[0] == "crate" {
        return path[1..].to_vec();
    }
    let supers = path.iter().take_while(|part| *part == "super").count();
    let start = supers.max(usize::from(path[0] == "self"));
    let kept = module.len().saturating_sub(supers);
    [&module[..kept], &path[start..]].concat()
}

fn without_reexports(tokens: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word);
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let visibility = usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Group(_))));
        if is(at, "pub") && is(at + 1 + visibility, "use") {
            while !matches!(&tokens[at], TokenTree::Punct(punct) if punct.as_char() == ';') {
                at += 1;
            }
        } else {
            kept.push(tokens[at].clone());
        }
        at += 1;
    }
    kept.into_iter().collect()
}

#[test]
fn circles_are_found_and_reexports_are_ignored() {
    let sources = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module = |name: &str| name.split("::").map(str::to_owned).collect();
        files
            .iter()
            .map(|(name, text)| (module(name), (*text).to_owned()))
            .collect()
    };
    let circle = sources(&[
        ("shop", "mod a; mod b; mod c; mod d; pub use a::A;"),
        ("shop::a", "use super::b::{B, self};"),
        ("shop::b", "fn f() { crate::shop::c::g() }"),
        ("shop::c", "use super::a; use super::d::D;"),
        ("shop::d", "use std::fmt; use super::E;"),
    ]);
    assert_eq!(
        find_circle(&circle),
        Some(["a", "b", "c", "a"].map(str::to_owned).to_vec())
    );
    let with_child = sources(&[
        ("shop::a", "mod child; fn f() { child::g(super::b::h()) }"),
        ("shop::a::child", "use super::A;"),
        ("shop::b", ""),
    ]);
    assert_eq!(
        find_circle(&with_child),
        Some(["a", "a/child", "a"].map(str::to_owned).to_vec())
    );
    let none = sources(&[
        ("shop", "mod a;"),
        (
            "shop::a",
            "mod child; pub(super) use child::{C, D}; pub use self::child::E;",
        ),
        (
            "shop::a::child",
            "use super::A; #[cfg(test)] mod tests { use crate::shop::b::B; }",
        ),
        ("shop::b", "use super::a::C;"),
    ]);
    assert_eq!(find_circle(&none), None);
}
