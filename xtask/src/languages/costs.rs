//! The costs of each language, as a table for the docs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{NAME, Sample, with_code_cache};
use crate::process::output;
use crate::workspace::Workspace;

/// The measured case: it gives both reasons, so the whole rule runs.
const CASE: &str = "tests/both-reasons.json";
/// The number of evaluations per sample.
const CALLS: &str = "2000";

const BEGIN: &str = "<!-- costs: written by `cargo xtask languages` -->\n";
const END: &str = "<!-- end of costs -->\n";

pub(super) struct Cost {
    language: &'static str,
    bytes: u64,
    class: String,
    fuel: f64,
    memory: f64,
    /// Microseconds: minimum, median, 99th percentile.
    times: [f64; 3],
    build_seconds: f64,
}

pub(super) fn measure(meed: &Path, workspace: &Workspace, sample: &Sample) -> Result<Cost> {
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(meed);
        command.arg("plugin").args(arguments).current_dir(&sample.project);
        output(with_code_cache(&mut command, workspace))
    };
    let facts = ask(&["inspect", "--json"])?;
    let cost = ask(&["bench", "--json", "--calls", CALLS, "--cases", CASE])?;
    let number = |name: &str| -> Result<f64> {
        let text = member(&cost, name).with_context(|| format!("find {name} in {cost}"))?;
        text.parse().with_context(|| format!("read {name}, {text}"))
    };
    let module = sample.project.join("build").join(format!("{NAME}.wasm"));
    Ok(Cost {
        language: sample.language,
        bytes: fs::metadata(&module)
            .with_context(|| format!("read {}", module.display()))?
            .len(),
        class: member(&facts, "class").context("find the class")?.to_lowercase(),
        fuel: number("fuel")?,
        memory: number("memoryBytes")?,
        times: [
            number("minMicroseconds")?,
            number("medianMicroseconds")?,
            number("p99Microseconds")?,
        ],
        build_seconds: sample.build_seconds,
    })
}

/// A member of a JSON object printed with one member per line, as `meed` prints it.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("\"{name}\": ");
    let line = json.lines().find_map(|line| line.trim().strip_prefix(&start))?;
    Some(line.trim_end_matches(',').trim_matches('"'))
}

pub(super) fn table(costs: &[Cost]) -> String {
    let mut table = String::from(
        "| language | module | class | fuel | memory | decision: least | median | 99 % | build |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for cost in costs {
        let [least, median, p99] = cost.times;
        let kib = cost.bytes.div_ceil(1024);
        let _ = writeln!(
            table,
            "| {} | {kib} KiB | {} | {:.0} | {:.0} KiB | {least:.1} µs | {median:.1} µs | {p99:.1} µs | {:.0} s |",
            cost.language,
            cost.class,
            cost.fuel,
            cost.memory / 1024.0,
            cost.build_seconds.ceil(),
        );
    }
    table
}

/// Writes the table between the two marks in the file.
pub(super) fn write(file: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let with_table = replaced(&text, table).with_context(|| format!("find {BEGIN}… {END} in {}", file.display()))?;
    fs::write(file, with_table).with_context(|| format!("write {}", file.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_printed_json() {
        let json = "[\n  {\n    \"case\": \"eligible\",\n    \"fuel\": 12,\n    \"p99Microseconds\": 1.5\n  }\n]\n";
        assert_eq!(member(json, "case"), Some("eligible"));
        assert_eq!(member(json, "fuel"), Some("12"));
        assert_eq!(member(json, "p99Microseconds"), Some("1.5"));
        assert_eq!(member(json, "p90Microseconds"), None);
    }

    #[test]
    fn the_table_replaces_the_previous_one() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(replaced(&text, "new\n"), Some(format!("a\n{BEGIN}new\n{END}b\n")));
        assert_eq!(replaced("no marks", "new\n"), None);
    }
}
