//! Files as people and strangers write them.

use std::fmt::Write as _;

use rstest_reuse::apply;

use super::{Site, pair};
use crate::support::{TestApp, on_both_engines};

#[apply(on_both_engines)]
async fn every_fault_has_its_file_line_and_column(app: TestApp) {
    let site = Site::new(&app).await;
    for (rules, hints) in [
        (
            "rewards:\n  a: {type: COUPON, stok: 1}",
            &["rules.yaml:3:", "unknown field `stok`"][..],
        ),
        ("reward: {}", &["rules.yaml:2:", "unknown field `reward`"]),
        (
            "rewards:\n  a: {type: COUPON, stock: many}",
            &["rules.yaml:3:28: invalid i64"],
        ),
        ("rewards:\n  a: {itemId: x}", &["rules.yaml:3:", "missing field `type`"]),
        (
            "rewards:\n  a: {type: A}\n  a: {type: B}",
            &["rules.yaml:4:", "duplicate"],
        ),
        ("rewards:\n  a: {type: A, type: B}", &["rules.yaml:3:", "duplicate"]),
        (
            "rewards:\n  Summer: {type: A}",
            &["rules.yaml:3:", "the name \"Summer\" is not 1 to 64"],
        ),
        (
            "rewards:\n  a: {type: lower}",
            &["rules.yaml:3:6: reward \"a\": /type: \"lower\" is not an upper-case word"],
        ),
        ("rewards:\n  a: {type: A, value: -1}", &["/value"]),
        ("rewards: [a]", &["rules.yaml:2:"]),
        ("rewards:\n  a: {type: A\nevents: {", &["rules.yaml:"]),
        (
            "events:\n  a: {title: A, startDate: tomorrow}",
            &["rules.yaml:3:", "tomorrow"],
        ),
        ("eventGroups:\n  a: {maxPerUser: 0}", &["/maxPerUser"]),
        ("eventGroups:\n  A_B: {maxPerUser: 1}", &["the name \"A_B\" is not"]),
        (
            "serviceKeys:\n  a: {scopes: [everything]}",
            &["\"everything\" is not a scope"],
        ),
        (
            "serviceKeys:\n  a: {scopes: [events:read], token: x}",
            &["unknown field `token`"],
        ),
        (
            "webhooks:\n  a: {url: \"https://x\", secret: x}",
            &["unknown field `secret`"],
        ),
        (
            "webhooks:\n  a: {url: \"https://x\", types: [everything]}",
            &["/types/0"],
        ),
        ("---\napiVersion: meed/v2", &["rules.yaml:3:13", "meed/v2"]),
        ("---\nrewards: {}", &["missing field `apiVersion`"]),
    ] {
        site.rules(rules);
        site.diff().fails(hints);
    }
    site.run(&["diff", "-f", "none.yaml"]).fails(&["read none.yaml"]);
    site.run(&["diff"]).fails(&["--file"]);
    // An empty section, an empty document and comments say nothing.
    site.rules("# nothing\nrewards:\nevents: {}\n---\n---\n");
    site.diff().code(0);
}

#[apply(on_both_engines)]
async fn files_and_folders_are_read_together(app: TestApp) {
    let site = Site::new(&app).await;
    std::fs::create_dir_all(site.path().join("rules/deeper")).expect("folders");
    let reward = |name: &str| format!("apiVersion: meed/v1\nrewards: {{{name}: {{type: POINT}}}}\n");
    site.write("rules/a.yaml", reward("a") + "---\n" + &reward("b"));
    site.write("rules/deeper/c.yml", reward("c"));
    site.write("rules/.hidden.yaml", "not YAML: [");
    site.write("rules/notes.txt", "not YAML: [");
    site.write("d.yaml", reward("d"));
    let plan = site.run(&["diff", "-f", "rules", "-f", "d.yaml"]).code(2);
    assert!(plan.contains("Plan: 4 to create."), "{plan}");
    let some = site.run(&["diff", "-f", "rules", "--only", "rewards/a,events"]).code(2);
    assert!(some.contains("Plan: 1 to create."), "{some}");
    site.write("rules/e.yaml", reward("b"));
    site.run(&["diff", "-f", "rules"])
        .fails(&["rules/e.yaml:2:14: the reward \"b\" is also at rules/a.yaml:5:14; keep one"]);
    // Aliases and merges are YAML, too.
    site.rules("rewards:\n  a: &base {type: POINT, value: 5}\n  b: {<<: *base, value: 6}\n  c: *base\n");
    let plan = site.diff().code(2);
    assert!(
        plan.contains("value  6") && plan.contains("Plan: 3 to create."),
        "{plan}"
    );
}

#[apply(on_both_engines)]
async fn hostile_files_are_refused_quickly(app: TestApp) {
    let site = Site::new(&app).await;
    let started = std::time::Instant::now();
    let mut bomb = "rewards:\n  a: &a0 {type: A, description: xxxxxxxx}\nevents:\n".to_owned();
    let mut params = "x0: &x0 [0,0,0,0,0,0,0,0,0,0]".to_owned();
    for level in 1..30 {
        let of = format!("*x{},", level - 1).repeat(10);
        let _ = write!(params, ", x{level}: &x{level} [{of}]");
    }
    let _ = writeln!(
        bomb,
        "  e: {{title: T, condition: {{plugin: a@1, params: {{{params}}}}}}}"
    );
    site.rules(&bomb);
    site.diff().fails(&["rules.yaml:"]);
    let deep = format!(
        "events:\n  e: {{condition: {{params: {{a: {}1{}}}}}}}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    site.rules(&deep);
    site.diff().fails(&["rules.yaml:"]);
    let deep: Vec<String> = (0..5_000).map(|level| " ".repeat(level) + "a:").collect();
    let deep = deep.join("\n");
    site.rules(&deep);
    site.diff().fails(&["rules.yaml:"]);
    let large = std::fs::File::create(site.path().join("rules.yaml")).expect("a file");
    large.set_len(100 << 20).expect("100 MiB");
    site.diff()
        .fails(&["rules.yaml: has more than 16777216 bytes; split it"]);
    site.write("rules.yaml", b"apiVersion: \xff\xfe");
    site.diff().fails(&["rules.yaml: is not UTF-8"]);
    site.run(&["diff", "-f", "/dev/zero"])
        .fails(&["/dev/zero: has more than"]);
    site.rules("rewards: !!python/object:os.system {a: {type: A}}\n");
    assert!(!site.diff().all.contains("panicked"));
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// A message may end up in the public log of a build.
#[apply(on_both_engines)]
async fn secrets_in_files_are_refused_and_not_repeated(app: TestApp) {
    let site = Site::new(&app).await;
    let key = format!("meed_sk_{}", "0123456789abcdef".repeat(5));
    for secret in [key.as_str(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        for rules in [
            format!("webhooks:\n  a: {{url: \"https://x\", secret: {secret}}}"),
            format!("rewards:\n  a: {{type: A, description: \"{secret}\"}}"),
            format!("# {secret}\n{{"),
        ] {
            site.rules(&rules);
            let told = site.diff().fails(&["rules.yaml:", "contains a secret"]);
            assert!(!told.contains(secret), "{told}");
        }
    }
    site.rules(&pair("\"about meed_sk_ and whsec_ keys\"", 1));
    assert!(!site.diff().all.contains("contains a secret"));
}
