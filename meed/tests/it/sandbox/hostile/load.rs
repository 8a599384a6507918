//! Loads the corpus from `tests/guests/hostile/<class>/*.wat`.
//!
//! A file is a whole `(module …)` or `(component …)`, or replaces parts of the valid condition of `guests.rs`:
//! the text after a line `;; in evaluate` is inserted at the start of that function, and so on for `items`, `imports`,
//! `realloc`, `describe` and `bind`; `;; in memory` replaces the memory. With one of the parts of `component.wat`, such
//! as `;; in definitions`, it is put into a component made by hand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use wit_component::StringEncoding;

use crate::guests::{Condition, with_metadata_in};

pub(super) struct Hostile {
    pub(super) name: String,
    pub(super) fate: Fate,
    pub(super) module: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Fate {
    /// `;; refused: CODE` or `;; refused: CODE, says TEXT`
    Refused { code: String, says: String },
    /// `;; fails: CODE in ENTRY`
    Fails { code: String, entry: Entry },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Describe,
    Bind,
    Evaluate,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests/hostile")
}

fn names(directory: PathBuf) -> BTreeSet<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub(super) fn classes() -> BTreeSet<String> {
    names(directory())
}

pub(super) fn class(class: &str) -> Vec<Hostile> {
    let directory = directory().join(class);
    names(directory.clone())
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(directory.join(&name)).unwrap();
            let name = name.strip_suffix(".wat").expect("only .wat files");
            Hostile {
                name: format!("{class}/{name}"),
                fate: fate(&text).unwrap_or_else(|| panic!("{name} does not say what must become of it")),
                module: module(&text),
            }
        })
        .collect()
}

fn fate(text: &str) -> Option<Fate> {
    let line = text.lines().next()?;
    if let Some(refused) = line.strip_prefix(";; refused: ") {
        let (code, says) = refused.split_once(", says ").unwrap_or((refused, ""));
        return Some(Fate::Refused {
            code: code.to_owned(),
            says: says.to_owned(),
        });
    }
    let (code, entry) = line.strip_prefix(";; fails: ")?.split_once(" in ")?;
    Some(Fate::Fails {
        code: code.to_owned(),
        entry: match entry {
            "describe" => Entry::Describe,
            "bind" => Entry::Bind,
            "evaluate" => Entry::Evaluate,
            _ => return None,
        },
    })
}

/// The value of a line `;; NAME: VALUE`.
fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(";; ")?.strip_prefix(name)?.strip_prefix(": "))
}

fn module(text: &str) -> Vec<u8> {
    let strings = match setting(text, "strings") {
        None => StringEncoding::UTF8,
        Some("utf16") => StringEncoding::UTF16,
        Some("latin1+utf16") => StringEncoding::CompactUTF16,
        Some(other) => panic!("no encoding of strings: {other}"),
    };
    let Some(parts) = text.find("\n;; in ") else {
        let plain = text.contains("\n(component") || text.lines().any(|line| line == ";; without metadata");
        return if plain {
            wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
        } else {
            with_metadata_in(text, strings)
        };
    };
    let mut condition = Condition::default();
    if let Some(pages) = setting(text, "pages") {
        condition.spare_pages = pages.parse().unwrap();
    }
    let mut memory = None;
    let mut component = Vec::new();
    for part in text[parts..].split("\n;; in ").skip(1) {
        let (name, part) = part.split_once('\n').unwrap();
        let part: &'static str = part.to_owned().leak();
        match name {
            "items" => part.clone_into(&mut condition.items),
            "imports" => condition.imports = part,
            "realloc" => condition.realloc = part,
            "describe" => condition.describe = part,
            "bind" => condition.bind = part,
            "evaluate" => condition.evaluate = part,
            "memory" => memory = Some(part),
            _ => component.push((name, part)),
        }
    }
    let mut text = condition.text();
    if let Some(memory) = memory {
        let replaced = |line| {
            if str::trim(line).starts_with("(memory ") {
                memory
            } else {
                line
            }
        };
        text = text.lines().map(replaced).collect::<Vec<_>>().join("\n");
    }
    if component.is_empty() {
        with_metadata_in(&text, strings)
    } else {
        in_component(&text, &component)
    }
}

/// The hand-written valid component around a core module, with these parts replaced.
fn in_component(module: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let mut text = include_str!("../../../guests/component.wat").to_owned();
    // Without its comments.
    let module = &module[module.find("(module").unwrap() + 1..module.rfind(')').unwrap()];
    let holes = [
        ("definitions", ""),
        ("with", ""),
        ("options", ""),
        ("describe-export", "func $describe"),
        ("evaluate-export", "func $evaluate"),
    ];
    for (name, _) in parts {
        assert!(holes.iter().any(|(hole, _)| hole == name), "there is no part {name}");
    }
    for (hole, honest) in holes {
        let part = parts
            .iter()
            .find(|(name, _)| *name == hole)
            .map_or(honest, |(_, part)| part);
        text = text.replace(&format!("{{{hole}}}"), part.trim());
    }
    let text = text.replace("{module}", &module.replacen("module", "module $condition", 1));
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}
