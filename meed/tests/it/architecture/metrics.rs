//! `docs/operations.md` lists exactly the metrics of the code, dashboard and alerts use no others, and every alert has
//! a runbook there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The macros that define metrics in the sources.
const MACROS: &[&str] = &["counter!(", "gauge!(", "histogram!("];
/// The suffixes of the Prometheus series of a histogram.
const SERIES: &[&str] = &["_bucket", "_sum", "_count"];

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn sources() -> Vec<String> {
    let mut files = Vec::new();
    super::list(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src"),
        "host/src",
        &mut files,
    );
    files.iter().map(|file| read(file)).collect()
}

/// All names with the prefix `meed_` in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    text.match_indices("meed_")
        .filter(|(at, _)| !text[..*at].ends_with(is_part))
        .map(|(at, _)| text[at..].chars().take_while(|letter| is_part(*letter)).collect())
        .collect()
}

/// The metrics of the code.
fn counted() -> BTreeSet<String> {
    let mut counted = BTreeSet::new();
    for source in sources() {
        for place in MACROS.iter().flat_map(|of| source.match_indices(of)) {
            let argument = source[place.0 + place.1.len()..].trim_start();
            let name = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            counted.insert(
                name.unwrap_or_else(|| panic!("a metric without a name: {argument:.60}"))
                    .to_owned(),
            );
        }
    }
    counted
}

/// The metrics in the table of the documentation.
fn documented() -> BTreeSet<String> {
    let docs = read("docs/operations.md");
    let (_, section) = docs.split_once("\n## Metrics\n").expect("the section");
    let table = section.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documentation_lists_exactly_the_metrics_of_the_code() {
    let (counted, documented) = (counted(), documented());
    assert!(counted.len() > 30, "{counted:?}");
    let undocumented: Vec<_> = counted.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&counted).collect();
    assert!(
        undocumented.is_empty() && unknown.is_empty(),
        "not documented: {undocumented:?}; not counted: {unknown:?}"
    );
}

#[test]
fn dashboard_and_alerts_use_existing_metrics() {
    let counted = counted();
    let exists = |name: &str| {
        let histogram = SERIES.iter().find_map(|series| name.strip_suffix(series));
        counted.contains(name) || histogram.is_some_and(|name| counted.contains(name))
    };
    for file in ["deploy/monitoring/dashboard.json", "deploy/monitoring/alerts.yaml"] {
        let used = names(&read(file));
        assert!(used.len() > 10, "{file}: {used:?}");
        let unknown: Vec<_> = used.iter().filter(|name| !exists(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let (alerts, docs) = (read("deploy/monitoring/alerts.yaml"), read("docs/operations.md"));
    let alerts: BTreeSet<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let (_, section) = docs.split_once("\n## Alerts\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let runbooks: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(alerts, runbooks);
    assert!(alerts.len() > 10);
}
