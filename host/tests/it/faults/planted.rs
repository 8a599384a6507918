//! Every known bug in `tests/planted` must still apply and name the tests that find it.
//! `cargo xtask planted` builds each of them and requires that these tests fail.

use std::path::{Path, PathBuf};
use std::process::Command;

fn patches() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted");
    let files = std::fs::read_dir(&folder).expect("the folder of planted bugs");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "patch"))
        .collect()
}

#[test]
fn every_planted_bug_still_applies_and_names_the_test_that_finds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the root");
    let patches = patches();
    assert!(patches.len() >= 18, "only {} planted bugs", patches.len());
    for patch in patches {
        let text = std::fs::read_to_string(&patch).expect("a patch");
        for header in ["Bug: ", "Found by: "] {
            let lines = text.lines().take_while(|line| !line.starts_with("---"));
            let named = lines
                .filter_map(|line| line.strip_prefix(header))
                .any(|value| !value.trim().is_empty());
            assert!(
                named,
                "{} has no line `{header}…` before its first `---`",
                patch.display()
            );
        }
        let mut apply = Command::new("git");
        apply.args(["apply", "--check"]).arg(&patch).current_dir(&root);
        // A repository around this checkout is none of its own.
        apply.env("GIT_CEILING_DIRECTORIES", root.parent().unwrap_or(&root));
        let applied = apply
            .output()
            .expect("git, which checks whether patches apply, is on the PATH");
        assert!(
            applied.status.success(),
            "{} does not apply any more; make it anew against the code as it is:\n{}",
            patch.display(),
            String::from_utf8_lossy(&applied.stderr)
        );
    }
}
