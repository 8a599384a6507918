//! The table of known bugs is up to date: every bug is still in the code and names existing tests. `cargo xtask
//! mutations` switches each on and requires that those tests fail.

#[path = "../../../host/src/mutations/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use table::{ALL, Mutation};

const ACTIVE: &str = "mutations::active(";

/// The Rust and SQL files below this folder of the checkout, without the table itself.
fn texts(folder: &str) -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs" || end == "sql") && !path.ends_with("table.rs") {
                texts.push(std::fs::read_to_string(&path).expect("a text"));
            }
        }
    }
    texts
}

/// The names in `mutations::active("name")`.
fn switched(texts: &[String]) -> BTreeSet<&str> {
    let calls = texts.iter().flat_map(|text| text.split(ACTIVE).skip(1));
    calls
        .filter_map(|call| call.strip_prefix('"')?.split('"').next())
        .collect()
}

#[test]
fn every_mutation_is_in_the_code_or_changes_a_statement() {
    let sources = texts("../host/src");
    let statements = [&sources[..], &texts("../migrations")].concat();
    let switched = switched(&sources);
    for Mutation { name, sql, .. } in ALL {
        assert!(
            switched.contains(name) || !sql.is_empty(),
            "{name}: no `{ACTIVE}\"{name}\")` in host/src and no SQL replacement in the table"
        );
        for (original, _) in *sql {
            assert!(
                statements.iter().any(|text| text.contains(original)),
                "{name}: no statement contains `{original}`; adapt the replacement in the table"
            );
        }
    }
    let known: BTreeSet<&str> = ALL.iter().map(|mutation| mutation.name).collect();
    assert_eq!(known.len(), ALL.len(), "a name is used twice");
    let unknown: Vec<_> = switched.difference(&known).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn every_mutation_names_tests_that_exist() {
    let tests = texts("tests/it");
    for Mutation { name, found_by, .. } in ALL {
        assert!(!found_by.is_empty(), "{name} names no test that finds it");
        for test in *found_by {
            let function = test.path().rsplit("::").next().expect("a name");
            let declaration = format!("async fn {function}(");
            assert!(
                tests.iter().any(|text| text.contains(&declaration)),
                "{name}: there is no test {}",
                test.path()
            );
        }
    }
}
