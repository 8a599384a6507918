//! The rule of every template, built by its language's own compiler, on the same cases: all languages decide alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use meed_host::clock::Clock;
use meed_host::contract::Translation;
use meed_host::plugins::cases::{self, Case, History};
use meed_host::sandbox::{Admitted, Class, CodeCache, Sandbox, Settings};

fn modules() -> PathBuf {
    std::env::var_os("MEED_TEST_LANGUAGES")
        .expect("MEED_TEST_LANGUAGES is not set: run the tests with `cargo xtask test`, which builds a plugin in each language")
        .into()
}

/// Compiling a language runtime takes long, so the code is kept beside the modules.
async fn admit(language: &str) -> (Sandbox, Admitted) {
    let settings = Settings {
        language_runtimes: true,
        ..Settings::default()
    };
    let cache = CodeCache {
        directory: modules().join("code-of-tests"),
        key: [5; 32],
    };
    let sandbox = Sandbox::new(&settings, env!("CARGO_BIN_EXE_meed").into(), Some(cache)).expect("a sandbox");
    let module = fs::read(modules().join(format!("{language}.wasm"))).expect("the module was built");
    let admitted = sandbox
        .admit_cached(module)
        .await
        .unwrap_or_else(|refusal| panic!("{language}: {refusal}"));
    (sandbox, admitted)
}

fn shared_cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/cases");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .expect("the cases")
        .map(|entry| {
            let path = entry.expect("a case").path();
            let case = serde_json::from_slice(&fs::read(&path).expect("a case")).expect("a case");
            (path.display().to_string(), case)
        })
        .collect();
    cases.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    cases
}

/// Every case has its expected decision in every language, so all languages decide alike.
async fn decides_as_all_do(language: &str, class: Class) {
    let (sandbox, admitted) = admit(language).await;
    assert_eq!(admitted.class, class, "{language}");
    let manifest = &admitted.manifest;
    let schema = &manifest.params_schema;
    assert_eq!(*schema, expected_schema(), "{language} has the schema of all others");
    assert_eq!((&*manifest.name, &*manifest.version), ("regular-shopper", "1.0.0"));
    assert_eq!(manifest.title, "Regular shopper");
    let label = |(key, text): (&str, &str)| (key.to_owned(), text.to_owned());
    let labels = [("days", "Days with a purchase"), ("spent", "Spent")].map(label);
    assert_eq!(manifest.texts.labels, BTreeMap::from(labels), "{language}");
    let german = Translation {
        title: "Stammkunde".to_owned(),
        description: "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.".to_owned(),
        labels: BTreeMap::from([("days", "Tage mit Einkauf"), ("spent", "Ausgegeben")].map(label)),
    };
    let translations = BTreeMap::from([("de".to_owned(), german)]);
    assert_eq!(manifest.texts.translations, translations, "{language}");

    let history = History::open(Clock::System).await.expect("a history");
    for (path, case) in shared_cases() {
        let ran = cases::run(&sandbox, &admitted.plugin, schema, &case, Some(&history))
            .await
            .unwrap_or_else(|error| panic!("{language}: {path}: {error}"));
        let faults = case.mismatches(&ran);
        assert!(faults.is_empty(), "{language}: {path}:\n{}", faults.join("\n"));
        let again = cases::run(&sandbox, &admitted.plugin, schema, &case, Some(&history))
            .await
            .expect("it runs again");
        assert_eq!(
            (again.actual, again.fuel),
            (ran.actual, ran.fuel),
            "{language}: {path}: the same again"
        );
    }
}

fn expected_schema() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/go/params.schema.json");
    serde_json::from_slice(&fs::read(path).expect("the schema")).expect("JSON")
}

macro_rules! languages {
    ($($name:ident: $class:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            decides_as_all_do(stringify!($name), Class::$class).await;
        }
    )*};
}

languages! {
    rust: Standard,
    c: Standard,
    assemblyscript: Standard,
    go: Runtime,
    typescript: Runtime,
    python: Runtime,
}
