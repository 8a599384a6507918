//! Rows that come in order make users; other ones are refused by name.

use serde_json::{Value, json};

use super::*;

const ONE: &str = "00000000-0000-7000-8000-000000000001";
const TWO: &str = "00000000-0000-7000-8000-000000000002";
const FRIEND: &str = "00000000-0000-7000-8000-00000000000f";
const AT: &str = "2026-03-01T09:30:00.000Z";

fn rows(lines: &[Value]) -> Result<Vec<Next>, RowError> {
    let mut owners = Owners::default();
    let mut found = Vec::new();
    for line in lines {
        found.push(owners.add(Row::parse(line.to_string().as_bytes())?)?);
    }
    found.push(owners.end());
    found.retain(|next| !matches!(next, Next::More));
    Ok(found)
}

fn user(id: &str) -> Value {
    json!({"row": "user", "user": id, "registeredAt": AT, "invited": false})
}

fn activity(id: &str) -> Value {
    json!({"row": "activity", "user": id, "kind": "shop.purchase", "occurredAt": AT, "recordedAt": AT, "amount": 7})
}

fn with(mut row: Value, name: &str, value: Value) -> Value {
    row[name] = value;
    row
}

fn all(id: &str) -> Vec<Value> {
    vec![
        user(id),
        with(activity(id), "attributes", json!({"shop": "main"})),
        json!({"row": "invitee", "user": id, "invitee": FRIEND, "registeredAt": AT}),
        with(activity(id), "invitee", json!(FRIEND)),
        json!({"row": "attribute", "user": id, "name": "level", "setAt": AT, "value": "3"}),
        json!({"row": "attribute", "user": id, "name": "level", "setAt": AT}),
        json!({
            "row": "claim", "user": id, "receivedAt": AT, "status": "GRANTED",
            "plugin": format!("sha256:{}", "0".repeat(64)), "period": "once", "slot": 1, "reversedAt": AT,
            "review": "APPROVED", "awards": [[FRIEND, 2]], "amount": 14,
        }),
        json!({"row": "group", "user": id, "grantedAt": AT}),
    ]
}

#[test]
fn the_rows_of_an_owner_make_the_same_owner() {
    let skipped = json!({"row": "skipped", "user": TWO, "reason": "erased"});
    let found = rows(&[all(ONE), vec![skipped]].concat()).unwrap();
    let [Next::Owner(owner), Next::Skipped(reason)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(reason, "erased");
    assert_eq!(
        (owner.log.activities.len(), owner.log.invitees[0].activities.len()),
        (1, 1)
    );
    assert_eq!(
        (owner.log.attributes.len(), owner.claims.len(), owner.group.len()),
        (2, 1, 1)
    );
    let mut again = Vec::new();
    put(owner, &mut |row| {
        again.push(serde_json::to_value(row)?);
        Ok(())
    })
    .unwrap();
    let found = rows(&again).unwrap();
    let [Next::Owner(copy)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(format!("{copy:?}"), format!("{owner:?}"));
}

#[test]
fn rows_that_make_no_user_are_refused() {
    let cases = [
        (vec![user(TWO), user(ONE)], "sort the rows by user"),
        (vec![activity(ONE)], "do not begin with the row `user`"),
        (vec![user(ONE), activity(TWO)], "do not begin with the row `user`"),
        (vec![user(ONE), user(ONE)], "a second row"),
        (
            vec![user(ONE), with(activity(ONE), "invitee", json!(FRIEND))],
            "no row `invitee` before it",
        ),
        (vec![json!({"row": "wish", "user": ONE})], "it is no row"),
        (vec![with(user(ONE), "colour", json!("red"))], "it is no row"),
    ];
    for (lines, says) in cases {
        let error = rows(&lines).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_user_with_too_many_rows_is_skipped() {
    let mut lines = vec![user(ONE)];
    lines.extend(vec![activity(ONE); MAX_ROWS + 1]);
    lines.push(user(TWO));
    let found = rows(&lines).unwrap();
    assert!(matches!(&found[..], [Next::Skipped(reason), Next::Owner(_)] if reason == "too-many-activities"));
}
