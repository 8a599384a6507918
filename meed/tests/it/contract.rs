//! The files generated from the WIT: `docs/contract.md`, rendered here, and the bindings of the Rust SDK. The tests
//! compare both, and write them if `UPDATE_DOCS=1`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use meed_host::contract::MAX_INTEGER;
use meed_host::facts::MAX_QUERIES;
use meed_host::sandbox::{ClassLimits, Settings};
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_parser::{Docs, Function, PackageId, Resolve, Type, TypeDef, TypeDefKind, WorldId, WorldItem};

const INTRODUCTION: &str = "\
<!-- Generated from plugin-sdk/wit/v1/condition.wit by a test; `UPDATE_DOCS=1 cargo xtask test -p meed contract` writes \
it again. -->

# The contract

The interface between server and plugin: every function, type and limit. The source is \
[`condition.wit`](../plugin-sdk/wit/v1/condition.wit), in the interface language of WebAssembly components (WIT). \
[Plugins](plugins.md) is the guide; in Rust the SDK hides most of this.
";

/// Rules of the host that the types do not express, by the item of the contract that they belong to.
fn rules() -> Vec<(&'static str, String)> {
    let integer = format!(
        "Within ±{}, so that every JSON reader sees the same number.",
        digits(MAX_INTEGER.unsigned_abs())
    );
    let name = "1 to 64 of `A-Z a-z 0-9 . _ -`.";
    let text = "At most 1,024 bytes, without control characters but line breaks.";
    let rules = [
        ("bind", "An error has 1 to 32 issues."),
        ("bind.params", "An object that fits the schema, at most 16 KiB."),
        ("manifest.title", "1 to 200 bytes."),
        ("manifest.description", text),
        ("manifest.labels", "At most 32; a key at most once."),
        (
            "manifest.translations",
            "At most 32; a language at most once. With the labels at most 64 KiB of text.",
        ),
        ("label.key", name),
        ("label.text", "At most 200 bytes."),
        ("translation.title", "1 to 200 bytes."),
        ("translation.description", text),
        ("translation.labels", "At most 32; a key at most once."),
        ("manifest.params-schema", "At most 64 patterns."),
        ("issue.message", text),
        ("selection.kind", name),
        ("selection.filters", "At most 8."),
        ("filter.attribute", name),
        ("filter.equals", "At most 256 characters."),
        ("query.attribute", name),
        ("fact.integer", integer.as_str()),
        ("reason.code", "At most 64 bytes."),
        ("reason.message", text),
        ("reason.args", "At most 16; a name at most once."),
        ("argument.name", name),
        ("argument.value", text),
        ("context.offsets", "At most 16."),
        ("progress.key", name),
        ("progress.current", integer.as_str()),
        ("progress.target", integer.as_str()),
        ("award.reward-id", "The id of a reward in the context."),
        ("award.quantity", "1 to the `max-quantity` of the reward."),
        ("decision.reasons", "At most 32."),
        ("decision.progress", "At most 32."),
        ("awards.chosen", "At most 32."),
    ];
    let queries = ("binding.queries", format!("At most {MAX_QUERIES}."));
    rules
        .map(|(place, rule)| (place, rule.to_owned()))
        .into_iter()
        .chain([queries])
        .collect()
}

/// The default limits of both classes of plugins.
fn limits() -> String {
    let Settings { standard, runtime, .. } = Settings::default();
    let classes = [standard, runtime];
    let mut table = "\n## The limits\n\nA plugin gets the class `STANDARD`, which is for compiled languages, if it keeps the limits of \
        that class. Otherwise it gets the class `RUNTIME`, for plugins that bring the runtime of a language, if the operator \
        accepts such plugins (`sandbox.language_runtimes`). These are the defaults; [an operator can \
        change](operations.md#the-sandbox) the fuel and time, the memory and the size of the module. A call that exceeds a \
        limit fails; it is never a \"no\".\n\n\
        | limit | `STANDARD` | `RUNTIME` |\n|---|---|---|\n"
        .to_owned();
    let mut row = |what: &str, limit: fn(&ClassLimits) -> String| {
        let [standard, runtime] = classes.each_ref().map(limit);
        let _ = writeln!(table, "| {what} | {standard} | {runtime} |");
    };
    row("fuel of `evaluate`", |class| digits(class.call.evaluate_fuel));
    row("fuel of `describe` and of `bind`", |class| {
        digits(class.call.setup_fuel)
    });
    row("time of `evaluate`", |class| {
        format!("{} ms", digits(class.call.evaluate_deadline_ms))
    });
    row("time of `describe` and of `bind`", |class| {
        format!("{} ms", digits(class.call.setup_deadline_ms))
    });
    row("memory", |class| bytes(class.call.memory_bytes));
    row("context, state and facts together", |class| {
        bytes(class.call.input_bytes)
    });
    row("state", |class| bytes(class.call.state_bytes));
    row("all texts of a decision together", |class| {
        bytes(class.call.decision_bytes)
    });
    row("JSON Schema of the params", |class| bytes(class.call.schema_bytes));
    row("notes of one call; the rest is dropped", |class| {
        format!("{} lines, {}", class.call.note_lines, bytes(class.call.note_bytes))
    });
    row("the module", |class| bytes(class.upload.bytes));
    row("functions in it", |class| digits(class.upload.functions as u64));
    row("one function", |class| bytes(class.upload.function_bytes));
    row("custom sections together", |class| bytes(class.upload.custom_bytes));
    table
}

fn bytes(count: usize) -> String {
    match count {
        mebibytes if mebibytes.is_multiple_of(1 << 20) => format!("{} MiB", mebibytes >> 20),
        kibibytes => format!("{} KiB", kibibytes >> 10),
    }
}

/// A number as people read it: `1,000,000`.
fn digits(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", digits(thousands), number % 1000),
    }
}

#[test]
fn the_reference_is_generated_from_the_contract() {
    let path = root().join("docs/contract.md");
    let rendered = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let fresh = written == rendered;
    assert!(
        fresh,
        "docs/contract.md differs from the WIT; UPDATE_DOCS=1 writes it again"
    );
}

/// The options are those that the SDK's macros rely on.
#[test]
fn the_bindings_of_the_rust_sdk_are_generated_from_the_contract() {
    let path = root().join("plugin-sdk/src/bindings/generated.rs");
    let (mut resolve, _, world) = contract();
    let options = wit_bindgen_rust::Opts {
        format: true,
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        disable_custom_section_link_helpers: true,
        pub_export_macro: true,
        export_macro_name: Some("export_world".to_owned()),
        ..Default::default()
    };
    let mut files = Files::default();
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .expect("bindings");
    let (_, generated) = files.iter().next().expect("a file");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let fresh = fs::read(&path).unwrap_or_default() == generated;
    assert!(
        fresh,
        "plugin-sdk/src/bindings/generated.rs is not what wit-bindgen makes of the WIT; UPDATE_DOCS=1 writes it again"
    );
}

fn contract() -> (Resolve, PackageId, WorldId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(root().join("plugin-sdk/wit/v1"))
        .expect("the contract parses");
    let world = resolve
        .select_world(&[package], Some("condition"))
        .expect("it has the world");
    (resolve, package, world)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn render() -> String {
    let (resolve, package, world) = contract();
    let mut page = Page {
        resolve: &resolve,
        rules: rules(),
        text: INTRODUCTION.to_owned(),
    };
    page.paragraph(&resolve.packages[package].docs);
    let world = &resolve.worlds[world];
    page.line(&format!(
        "\n## What a plugin exports\n\nThe world is `{}`.",
        resolve.id_of_name(package, &world.name)
    ));
    for item in world.exports.values() {
        if let WorldItem::Function(function) = item {
            page.function(function);
        }
    }
    let imported = world.imports.values().filter_map(|item| match item {
        WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
        _ => None,
    });
    // An interface without functions only names types.
    let (services, types): (Vec<_>, Vec<_>) = imported.partition(|interface| !interface.functions.is_empty());
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
    let unused: Vec<_> = page.rules.iter().map(|(place, _)| place).collect();
    assert!(unused.is_empty(), "the contract has no {unused:?}");
    page.text + &limits()
}

/// The page so far, and the rules that are not placed yet.
struct Page<'a> {
    resolve: &'a Resolve,
    rules: Vec<(&'static str, String)>,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn paragraph(&mut self, docs: &Docs) {
        for paragraph in docs.contents.iter().flat_map(|contents| contents.split("\n\n")) {
            self.line(&format!("\n{}", sentence(paragraph)));
        }
    }

    fn rule(&mut self, place: &str) -> Option<String> {
        let index = self.rules.iter().position(|(known, _)| *known == place)?;
        Some(self.rules.remove(index).1)
    }

    /// The head of a function or a type.
    fn heading(&mut self, name: &str, docs: &Docs) {
        self.line(&format!("\n### {name}"));
        // A heading between types, such as `// ---- the manifest ----`, does not belong to the next comment.
        let contents = docs.contents.as_deref().unwrap_or_default().lines();
        let lines: Vec<_> = contents.filter(|line| !line.trim().starts_with("---")).collect();
        let contents = Some(lines.join("\n")).filter(|contents| !contents.is_empty());
        self.paragraph(&Docs { contents });
        if let Some(rule) = self.rule(name) {
            self.line(&format!("\n{rule}"));
        }
    }

    fn function(&mut self, function: &Function) {
        self.heading(&function.name, &function.docs);
        self.line("");
        for param in &function.params {
            let rule = self.rule(&format!("{}.{}", function.name, param.name));
            let rule = rule.map(|rule| format!(". {rule}")).unwrap_or_default();
            self.line(&format!(
                "- takes `{}`: {}{rule}",
                param.name,
                self.type_name(&param.ty)
            ));
        }
        let result = function.result.as_ref().map(|result| self.type_name(result));
        self.line(&format!("- returns {}", result.as_deref().unwrap_or("nothing")));
    }

    fn type_definition(&mut self, definition: &TypeDef) {
        let name = definition.name.as_deref().unwrap_or_default();
        self.heading(name, &definition.docs);
        match &definition.kind {
            TypeDefKind::Record(record) => {
                self.line("\n| field | type | |\n|---|---|---|");
                for field in &record.fields {
                    self.row(name, &field.name, Some(&field.ty), &field.docs);
                }
            }
            TypeDefKind::Variant(variant) => {
                self.line("\n| one of | with | |\n|---|---|---|");
                for case in &variant.cases {
                    self.row(name, &case.name, case.ty.as_ref(), &case.docs);
                }
            }
            TypeDefKind::Enum(choice) => {
                let names: Vec<_> = choice.cases.iter().map(|case| format!("`{}`", case.name)).collect();
                self.line(&format!("\nOne of {}.", names.join(", ")));
            }
            TypeDefKind::Type(other) => self.line(&format!("\nIt is a {}.", self.type_name(other))),
            other => panic!("the reference cannot show a {} yet", other.as_str()),
        }
    }

    /// A field of a record or a case of a variant.
    fn row(&mut self, owner: &str, name: &str, ty: Option<&Type>, docs: &Docs) {
        let about = docs.contents.as_deref().map(sentence);
        let rule = self.rule(&format!("{owner}.{name}"));
        let about: Vec<_> = about.into_iter().chain(rule).collect();
        let cells = [
            format!("`{name}`"),
            ty.map(|ty| self.type_name(ty)).unwrap_or_default(),
            about.join(" "),
        ];
        self.line(&format!("| {} |", cells.join(" | ")).replace("|  |", "| |"));
    }

    fn type_name(&self, ty: &Type) -> String {
        let Type::Id(id) = ty else {
            // Primitive types are printed as in WIT, in lower case.
            return format!("{ty:?}").to_lowercase();
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
                format!("{}, or an error: {}", part(result.ok), part(result.err))
            }
            other => panic!("the reference cannot show a {} yet", other.as_str()),
        }
    }
}

/// A comment as a page has it: one line, with a capital and a full stop.
fn sentence(comment: &str) -> String {
    let line = comment
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" -> ", " → ");
    // Names and symbols keep their spelling.
    let is_word = line
        .split_whitespace()
        .next()
        .is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase()));
    let mut characters = line.chars();
    let mut sentence = match characters.next() {
        Some(first) if is_word => first.to_uppercase().chain(characters).collect(),
        _ => line,
    };
    if !sentence.ends_with(['.', '?']) {
        sentence.push('.');
    }
    sentence
}
