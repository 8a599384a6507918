//! `docs/contract.md` is what the WIT says: rendered here, compared, and written when `UPDATE_DOCS=1`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use meed_host::contract::MAX_INTEGER;
use meed_host::facts::MAX_QUERIES;
use meed_host::sandbox::Settings;
use wit_parser::{Docs, Function, Interface, Resolve, Type, TypeDef, TypeDefKind, WorldItem, WorldKey};

const INTRODUCTION: &str = "\
<!-- Made from plugin-sdk/wit/v1/condition.wit by the test `contract`; `UPDATE_DOCS=1 cargo xtask test contract` writes \
it again. -->

# The contract

What a server and a plugin say to each other, word for word. The source is \
[`condition.wit`](../plugin-sdk/wit/v1/condition.wit), in the language of WebAssembly components (WIT). \
[Plugins](plugins.md) is the guide to it, and in Rust the SDK hides all of this.
";

/// What the host allows beyond what a type says, at the place where an author looks for it. Each must name something
/// that the contract has.
fn limits() -> Vec<(&'static str, String)> {
    let call = Settings::default().standard.call;
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    let integers = format!("Within ±{MAX_INTEGER} (2^53 − 1), so that every JSON reader sees the same number.");
    let name = "1 to 64 of `A-Z a-z 0-9 . _ -`.";
    vec![
        ("bind.params", format!("At most {}.", kib(16 << 10))),
        (
            "evaluate",
            format!(
                "Fuel {}, {} ms, {} KiB of memory; context, state and facts together at most {}.",
                call.evaluate_fuel,
                call.evaluate_deadline_ms,
                call.memory_bytes >> 10,
                kib(call.input_bytes)
            ),
        ),
        (
            "bind",
            format!(
                "Fuel {}, {} ms; at least one issue and at most 32.",
                call.setup_fuel, call.setup_deadline_ms
            ),
        ),
        (
            "note",
            format!(
                "{} lines and {} for one call; the rest is dropped.",
                call.note_lines,
                kib(call.note_bytes)
            ),
        ),
        ("manifest.title", "1 to 200 bytes.".to_owned()),
        ("manifest.description", "At most 1024 bytes.".to_owned()),
        (
            "manifest.params-schema",
            format!("At most {}, with at most 64 patterns.", kib(call.schema_bytes)),
        ),
        ("issue.message", "At most 1024 bytes.".to_owned()),
        ("binding.queries", format!("At most {MAX_QUERIES}.")),
        ("binding.state", format!("At most {}.", kib(call.state_bytes))),
        ("selection.kind", name.to_owned()),
        ("selection.filters", "At most 8.".to_owned()),
        ("filter.attribute", name.to_owned()),
        ("filter.equals", "At most 256 characters.".to_owned()),
        ("query.attribute", name.to_owned()),
        ("fact.integer", integers.clone()),
        (
            "reason.message",
            "At most 1024 bytes, no control characters but line breaks.".to_owned(),
        ),
        ("progress.key", name.to_owned()),
        ("progress.current", integers.clone()),
        ("progress.target", integers),
        (
            "award.quantity",
            "1 to the `max-quantity` of the reward, which must be one of the event's.".to_owned(),
        ),
        (
            "decision",
            format!(
                "All texts together at most {}; at most 32 reasons, 32 goals and 32 awards.",
                kib(call.decision_bytes)
            ),
        ),
    ]
}

#[test]
fn the_reference_is_what_the_contract_says() {
    let path = root().join("docs/contract.md");
    let rendered = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let fresh = written == rendered;
    assert!(
        fresh,
        "docs/contract.md is not what the WIT says; UPDATE_DOCS=1 writes it again"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn render() -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("plugin-sdk/wit/v1")).unwrap();
    let world = resolve.select_world(&[package], Some("condition")).unwrap();
    let mut page = Page {
        resolve: &resolve,
        limits: limits(),
        text: INTRODUCTION.to_owned(),
    };
    page.paragraph(&resolve.packages[package].docs);
    let world = &resolve.worlds[world];
    let name = resolve.id_of_name(package, &world.name);
    page.line(&format!("\n## What a plugin exports\n\nThe world is `{name}`."));
    for item in world.exports.values() {
        if let WorldItem::Function(function) = item {
            page.function(function);
        }
    }
    // The interface of types is imported too, but it has no functions and asks for nothing.
    let imported = world.imports.iter().filter_map(|(key, item)| match (key, item) {
        (WorldKey::Interface(_), WorldItem::Interface { id, .. }) => Some(&resolve.interfaces[*id]),
        _ => None,
    });
    let (services, types): (Vec<&Interface>, Vec<&Interface>) =
        imported.partition(|interface| !interface.functions.is_empty());
    page.line("\n## What a plugin may import");
    for interface in services {
        page.paragraph(&interface.docs);
        interface
            .functions
            .values()
            .for_each(|function| page.function(function));
    }
    page.line("\n## The types");
    for id in types.iter().flat_map(|interface| interface.types.values()) {
        page.type_definition(&resolve.types[*id]);
    }
    let unused: Vec<_> = page.limits.iter().map(|(place, _)| place).collect();
    assert!(unused.is_empty(), "the contract has no {unused:?}");
    page.text
}

/// The page as it grows, and the limits that have not found their place yet.
struct Page<'a> {
    resolve: &'a Resolve,
    limits: Vec<(&'static str, String)>,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn paragraph(&mut self, docs: &Docs) {
        if let Some(contents) = &docs.contents {
            self.line(&format!("\n{}", sentence(contents.trim())));
        }
    }

    fn function(&mut self, function: &Function) {
        let name = &function.name;
        self.line(&format!("\n### {name}"));
        self.paragraph(&function.docs);
        if let Some(limit) = self.limit(name) {
            self.line(&format!("\n*Limits:* {limit}"));
        }
        let mut params = String::new();
        for param in &function.params {
            let limit = self.limit(&format!("{name}.{}", param.name)).unwrap_or_default();
            let _ = writeln!(params, "| `{}` | {} | {limit} |", param.name, self.type_name(&param.ty));
        }
        if params.is_empty() && function.result.is_none() {
            return;
        }
        self.line("\n| takes | type | |\n|---|---|---|");
        self.text.push_str(if params.is_empty() {
            "| nothing | | |\n"
        } else {
            &params
        });
        let result = function.result.as_ref().map(|result| self.type_name(result));
        self.line(&format!("\nReturns {}.", result.as_deref().unwrap_or("nothing")));
    }

    fn type_definition(&mut self, definition: &TypeDef) {
        let name = definition.name.as_deref().unwrap_or_default();
        self.line(&format!("\n### {name}"));
        self.paragraph(&definition.docs);
        if let Some(limit) = self.limit(name) {
            self.line(&format!("\n*Limits:* {limit}"));
        }
        match &definition.kind {
            TypeDefKind::Record(record) => {
                self.line("\nA record.\n\n| field | type | |\n|---|---|---|");
                for field in &record.fields {
                    self.member(name, &field.name, Some(&field.ty), &field.docs);
                }
            }
            TypeDefKind::Variant(variant) => {
                self.line("\nOne of these cases.\n\n| case | with | |\n|---|---|---|");
                for case in &variant.cases {
                    self.member(name, &case.name, case.ty.as_ref(), &case.docs);
                }
            }
            TypeDefKind::Enum(choice) => {
                let names: Vec<_> = choice.cases.iter().map(|case| format!("`{}`", case.name)).collect();
                self.line(&format!("\nOne of {}.", names.join(", ")));
            }
            TypeDefKind::Type(other) => {
                let other = self.type_name(other);
                self.line(&format!("\nAnother name for {other}."));
            }
            other => panic!("the reference cannot show a {} yet", other.as_str()),
        }
    }

    /// A row of a record or a variant.
    fn member(&mut self, owner: &str, name: &str, ty: Option<&Type>, docs: &Docs) {
        let about = docs.contents.as_deref().map(|contents| sentence(contents.trim()));
        let limit = self.limit(&format!("{owner}.{name}"));
        let about: Vec<_> = about.into_iter().chain(limit).collect();
        let ty = ty.map(|ty| self.type_name(ty)).unwrap_or_default();
        self.line(&format!("| `{name}` | {ty} | {} |", about.join(" ")));
    }

    fn limit(&mut self, place: &str) -> Option<String> {
        let index = self.limits.iter().position(|(known, _)| *known == place)?;
        Some(self.limits.remove(index).1)
    }

    fn type_name(&self, ty: &Type) -> String {
        let Type::Id(id) = ty else {
            return match ty {
                Type::Bool => "bool",
                Type::U8 => "u8",
                Type::U32 => "u32",
                Type::S16 => "s16",
                Type::S32 => "s32",
                Type::S64 => "s64",
                Type::String => "string",
                other => panic!("the reference cannot show {other:?} yet"),
            }
            .to_owned();
        };
        let definition = &self.resolve.types[*id];
        if let Some(name) = &definition.name {
            return format!("[{name}](#{name})");
        }
        match &definition.kind {
            TypeDefKind::Option(inner) => format!("{}, or none", self.type_name(inner)),
            TypeDefKind::List(Type::U8) => "bytes".to_owned(),
            TypeDefKind::List(inner) => format!("list of {}", self.type_name(inner)),
            TypeDefKind::Result(result) => {
                let part = |ty: Option<Type>| ty.map_or("nothing".to_owned(), |ty| self.type_name(&ty));
                format!("{}, or as an error {}", part(result.ok), part(result.err))
            }
            other => panic!("the reference cannot show a {} yet", other.as_str()),
        }
    }
}

/// A comment as it reads in a page: one paragraph, with a capital and a full stop.
fn sentence(comment: &str) -> String {
    let text = comment.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let mut characters = text.chars();
    let starts_with_code = text
        .split_whitespace()
        .next()
        .is_some_and(|word| word.contains(['-', '`']));
    let mut text = match characters.next() {
        Some(first) if !starts_with_code => first.to_uppercase().chain(characters).collect(),
        _ => text,
    };
    if !text.ends_with(['.', ')', '?']) {
        text.push('.');
    }
    text
}
