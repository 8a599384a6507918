//! `meed users import`, `meed activities import` and `meed codes import`

use std::fs;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{meed, output, text as utf8};
use crate::support::{TestApp, on_both_engines, text};

/// Writes the file, runs `meed WHAT import FILE ARGUMENTS`, and returns the exit code and what it told on standard error.
fn import(app: &TestApp, what: &str, (name, content): (&str, &[u8]), arguments: &[&str]) -> (i32, String) {
    run(app, &[what, "import"], (name, content), arguments)
}

fn run(app: &TestApp, what: &[&str], (name, content): (&str, &[u8]), arguments: &[&str]) -> (i32, String) {
    let file = app.directory().join(name);
    fs::write(&file, content).expect("a file");
    let mut command = meed(app.directory());
    command
        .args(what)
        .arg(&file)
        .args(arguments)
        .env("MEED__DATABASE__URL", app.database_url())
        .env("MEED__KEYS__DIRECTORY", app.keys_directory());
    let output = output(&mut command);
    (output.status.code().expect("a code"), utf8(&output.stderr))
}

async fn user(app: &TestApp, external: &str) -> Value {
    let admin = app.token(Role::Admin).await;
    let path = format!("/users/external/{external}");
    app.get(&path).bearer(&admin).send().await.json
}

const USERS: &str = "SELECT COUNT(*) FROM users WHERE external_id IS NOT NULL";
const ATTRIBUTES: &str = "SELECT COUNT(*) FROM user_attributes";
const REPORTED: &str = "SELECT COUNT(*) FROM activities WHERE source = 'shop'";

#[apply(on_both_engines)]
async fn users_are_imported_from_lines_and_a_second_run_changes_nothing(app: TestApp) {
    let lines =
        (1..=2_500).map(|number| format!("{{\"externalId\": \"c-{number}\", \"attributes\": {{\"level\": 1}}}}\n"));
    let file: String = lines.collect();
    let (code, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &[]);
    assert!(
        code == 0 && told.contains("line 2500: 2500 read, 2500 created, 0 updated, 0 unchanged, 0 bad"),
        "{code} {told}"
    );
    assert_eq!((app.count(USERS).await, app.count(ATTRIBUTES).await), (2_500, 2_500));
    let (code, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &[]);
    assert!(
        code == 0 && told.contains("0 created, 0 updated, 2500 unchanged"),
        "{code} {told}"
    );
    let (code, told) = import(
        &app,
        "users",
        ("users.ndjson", file.as_bytes()),
        &["--from-line", "2401"],
    );
    assert!(code == 0 && told.contains("line 2500: 100 read"), "{code} {told}");
    assert_eq!((app.count(USERS).await, app.count(ATTRIBUTES).await), (2_500, 2_500));
}

#[apply(on_both_engines)]
async fn bad_lines_are_told_with_their_numbers_and_the_others_are_imported(app: TestApp) {
    let file = [
        "\u{feff}{\"externalId\": \"a\"}\n",
        "\n",
        "{\"externalId\": \n",
        "{\"externalId\": \"\"}\n",
        "{\"externalId\": \"b\", \"attributes\": {\"level\": [1]}}\n",
        // The same user again: the later line counts.
        "{\"externalId\": \"a\", \"attributes\": {\"level\": 2}}\n",
        &format!("{{\"externalId\": \"{}\"}}\n", "x".repeat(1 << 20)),
        "[]\n",
        "{\"externalId\": \"c\"}",
    ]
    .concat();
    let (code, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &["--strict"]);
    assert!(
        code == 2 && told.contains("line 3: ") && !told.contains("line 4: "),
        "{code} {told}"
    );
    assert_eq!(app.count(USERS).await, 1);
    let (code, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &[]);
    assert_eq!(code, 2);
    for says in [
        "line 3: ",
        "line 4: /externalId: is empty",
        "line 5: /attributes/level: ",
        "line 7: the line is longer than",
        "line 8: must be an object",
        "line 9: 8 read, 1 created, 1 updated, 1 unchanged, 5 bad",
    ] {
        assert!(told.contains(says), "{says}: {told:.2000}");
    }
    assert_eq!(user(&app, "a").await["attributes"], json!({"level": "2"}));
    assert_eq!(app.count(USERS).await, 2);
}

#[apply(on_both_engines)]
async fn users_are_imported_from_csv_by_a_mapping(app: TestApp) {
    let file = "customer_no;lvl;name;region\n1;3;Ada;KR\n2;;\"Be;n\";\"new\nline\"\n3;1;Cy\n4;5;Di;JP\n";
    let arguments = [
        "--delimiter",
        ";",
        "--map",
        "externalId=customer_no",
        "--map",
        "attributes.level=lvl",
        "--map",
        "attributes.region=region",
    ];
    let (code, told) = import(&app, "users", ("users.csv", file.as_bytes()), &arguments);
    assert!(
        code == 2 && told.contains("line 5: has 3 columns; the header has 4"),
        "{code} {told}"
    );
    assert!(told.contains("line 6: 4 read, 3 created"), "{told}");
    assert_eq!(
        user(&app, "1").await["attributes"],
        json!({"level": "3", "region": "KR"})
    );
    assert_eq!(user(&app, "2").await["attributes"], json!({"region": "new\nline"}));

    let (code, told) = import(&app, "users", ("more.csv", b"externalId,attributes.level\n7,1\n"), &[]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(user(&app, "7").await["attributes"], json!({"level": "1"}));
    let missing = ["--map", "externalId=id"];
    let (code, told) = import(&app, "users", ("more.csv", b"externalId\n7\n"), &missing);
    assert!(code == 1 && told.contains("no column \"id\""), "{code} {told}");
    let open = format!("externalId,attributes.level\n8,\"{}", "x".repeat(2 << 20));
    let (code, told) = import(&app, "users", ("open.csv", open.as_bytes()), &[]);
    assert!(
        code == 1 && told.contains("is a quote not closed?"),
        "{code} {told:.500}"
    );
}

#[apply(on_both_engines)]
async fn activities_are_imported_and_bad_ones_stop_no_others(app: TestApp) {
    let app = app.in_real_time();
    let (code, told) = import(&app, "users", ("users.csv", b"externalId\nada\nben\n"), &[]);
    assert_eq!(code, 0, "{told}");
    let file = "order,customer,cents,when\n\
        1,ada,2500,2026-01-01T00:00:00Z\n\
        2,nobody,100,2026-01-01T00:00:00Z\n\
        3,ben,x,2026-01-01T00:00:00Z\n\
        4,ben,,1969-01-01T00:00:00Z\n\
        5,ben,,2026-01-02T00:00:00Z\n\
        1,ada,1,2026-01-01T00:00:00Z\n";
    let columns = file
        .replace('\n', ",shop,shop.purchase\n")
        .replacen("shop,shop.purchase", "source,kind", 1);
    let arguments = [
        "--map",
        "id=order",
        "--map",
        "externalUserId=customer",
        "--map",
        "amount=cents",
        "--map",
        "occurredAt=when",
        "--map",
        "source=source",
        "--map",
        "kind=kind",
    ];
    let (code, told) = import(&app, "activities", ("orders.csv", columns.as_bytes()), &arguments);
    assert_eq!(code, 2, "{told}");
    for says in [
        "line 3: /externalUserId: there is no user with the external id \"nobody\"",
        "line 4: amount is \"x\", not an integer",
        "line 5: /occurredAt: ",
        "line 7: /amount: shop reported \"1\" before with a different amount",
        "2 recorded, 0 duplicates, 4 bad",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
    assert_eq!(app.count(REPORTED).await, 2);
    let (_, told) = import(&app, "activities", ("orders.csv", columns.as_bytes()), &arguments);
    assert!(told.contains("0 recorded, 2 duplicates, 4 bad"), "{told}");
    let operator = app.operator().await;
    let path = "/users/external:ada/activities";
    let page = app.get(path).bearer(&operator).send().await.expect(200);
    assert_eq!(text(&page["items"][0], "id"), "1");
    assert_eq!(page["items"][0]["amount"], 2500);
}

#[apply(on_both_engines)]
async fn codes_are_imported_from_a_file_of_any_length(app: TestApp) {
    let operator = app.operator().await;
    let reward = app
        .reward(json!({"type": "VOUCHER", "itemId": "x", "codes": true}))
        .await;
    let id = text(&reward, "id");
    let counts = async || {
        let reply = app.get(&format!("/rewards/{id}/codes")).bearer(&operator).send().await;
        let counts = reply.expect(200);
        (counts["total"].clone(), counts["remaining"].clone())
    };
    // More than one transaction, and a line that is faulty; its code is not repeated.
    let lines = (1..=10_500).map(|number| format!("{{\"code\": \"CODE-{number:06}\"}}\n"));
    let file = lines.collect::<String>() + "{\"code\": \"SECRET CODE\"}\n{\"code\": 4711}\n";
    let what = ["codes", "import", id];
    let (code, report) = run(&app, &what, ("codes.ndjson", file.as_bytes()), &[]);
    assert!(
        code == 2 && report.contains("10502 read, 10500 imported, 0 duplicates, 2 bad"),
        "{code} {report}"
    );
    assert!(
        report.contains("line 10501: ") && report.contains("line 10502: "),
        "{report}"
    );
    assert!(!report.contains("SECRET") && !report.contains("4711"), "{report}");
    assert_eq!(counts().await, (json!(10_500), json!(10_500)));
    // CSV, with another name of the column; what is there changes nothing.
    let csv = b"voucher,batch\nCODE-000001,a\nNEW-1,a\n";
    let map = ["--map", "code=voucher"];
    let (code, report) = run(&app, &what, ("codes.csv", csv), &map);
    assert!(
        code == 0 && report.contains("1 imported, 1 duplicates"),
        "{code} {report}"
    );
    assert_eq!(counts().await, (json!(10_501), json!(10_501)));
    // A reward without codes, and none at all.
    let plain = app.reward(json!({"type": "POINTS", "value": 5})).await;
    for (id, reason) in [
        (text(&plain, "id"), "has no codes"),
        ("0190a000-0000-7000-8000-000000000000", "There is no reward"),
    ] {
        let (code, report) = run(&app, &["codes", "import", id], ("codes.csv", b"code\nX-1\n"), &[]);
        assert!(code == 1 && report.contains(reason), "{code} {report}");
    }
}

/// A line counts as in an editor, with any kind of line break.
#[apply(on_both_engines)]
async fn a_bad_record_of_csv_has_the_number_of_its_line(app: TestApp) {
    for (file, bad) in [
        ("externalId,attributes.a\r\nq1,1\r\nq2,1,2\r\nq3,1\r\n", 3),
        ("externalId,attributes.a\n\n\nq1,1\n\nq2,1,2\nq3,1\n", 6),
        (
            "\u{feff}externalId,attributes.a\r\n\r\nq1,\"a\r\nb\"\r\n\r\nq2,1,2\r\nq3,1",
            6,
        ),
    ] {
        let (code, told) = import(&app, "users", ("users.csv", file.as_bytes()), &[]);
        let says = format!("line {bad}: has 3 columns; the header has 2");
        assert!(code == 2 && told.contains(&says), "{says}: {told}");
    }
}

#[apply(on_both_engines)]
async fn the_progress_names_what_is_stored(app: TestApp) {
    // 100 batches, so that a message comes before the end.
    let lines = (1..=100_500).map(|number| format!("{{\"externalId\": \"c-{}\"}}\n", number % 1000));
    let file: String = lines.collect();
    let (code, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &[]);
    assert_eq!(code, 0, "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("line ")).collect();
    assert!(lines[0].starts_with("line 100000: "), "{told}");
    assert!(lines[1].starts_with("line 100500: "), "{told}");
    assert_eq!(lines.len(), 2, "{told}");
    // The end of such a number of batches is told once.
    let file: String = file.split_inclusive('\n').take(100_000).collect();
    let (_, told) = import(&app, "users", ("users.ndjson", file.as_bytes()), &[]);
    assert_eq!(
        told.lines().filter(|line| line.starts_with("line ")).count(),
        1,
        "{told}"
    );
    // What stopped a strict import is not stored.
    let bad = "{\"externalId\": \"a\"}\n\n{\"externalId\": \"b\"}\n{}\n";
    let (code, told) = import(&app, "users", ("users.ndjson", bad.as_bytes()), &["--strict"]);
    assert!(code == 2 && told.contains("line 3: 3 read, 2 created"), "{told}");
}

#[apply(on_both_engines)]
async fn a_header_must_say_once_what_each_column_is(app: TestApp) {
    for (file, arguments, says) in [
        ("", &[][..], "the CSV file is empty"),
        (
            "externalId,attributes.a,attributes.a\nq1,1,2\n",
            &[],
            "two columns are \"attributes.a\"",
        ),
        ("id,id\nq1,q2\n", &["--map", "externalId=id"], "has two columns \"id\""),
        (
            "a,b\nq1,q2\n",
            &["--map", "externalId=a", "--map", "externalId=b"],
            "two columns are \"externalId\"",
        ),
        (
            "a,b\nq1,q2\n",
            &["--map", "externalId=a", "--map", "attributes.x=a"],
            "names the column \"a\" twice",
        ),
    ] {
        let (code, told) = import(&app, "users", ("users.csv", file.as_bytes()), arguments);
        assert!(code == 1 && told.contains(says), "{says}: {code} {told}");
    }
    assert_eq!(app.count(USERS).await, 0);
}
