//! Known bugs that `cargo xtask mutations` switches on, one at a time, to check that the tests find them.
//!
//! With the cargo feature `mutations`, the environment variable `MEED_MUTATION` names the one bug of this process, and
//! `table` lists all of them. A bug in Rust is a condition `mutations::active(name)` in the code that it breaks; a bug
//! in SQL is a replacement in the table, which the database layer applies. Without the feature, the condition is the
//! constant `false`, and a release contains none of this. Must not know: any feature.

#[cfg(feature = "mutations")]
mod table;

#[cfg(feature = "mutations")]
pub(crate) use enabled::{active, sql};

/// Whether this process has the bug.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn active(_name: &str) -> bool {
    false
}

/// The statement or migration with the bug, if the bug changes it.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn sql(_text: &str) -> Option<String> {
    None
}

#[cfg(feature = "mutations")]
mod enabled {
    use std::sync::LazyLock;

    use super::table::{ALL, Mutation};

    static ACTIVE: LazyLock<Option<&'static Mutation>> = LazyLock::new(|| {
        let name = std::env::var_os("MEED_MUTATION")?;
        let found = ALL.iter().find(|mutation| *name == *mutation.name);
        Some(found.unwrap_or_else(|| panic!("MEED_MUTATION: there is no mutation {}", name.display())))
    });

    pub(crate) fn active(name: &str) -> bool {
        ACTIVE.is_some_and(|mutation| mutation.name == name)
    }

    pub(crate) fn sql(text: &str) -> Option<String> {
        let replacements = ACTIVE.map_or(&[][..], |mutation| mutation.sql);
        let is_changed = replacements.iter().any(|(original, _)| text.contains(original));
        is_changed.then(|| {
            replacements.iter().fold(text.to_owned(), |text, (original, mutant)| {
                text.replace(original, mutant)
            })
        })
    }
}
