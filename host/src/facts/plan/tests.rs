//! Valid and invalid plans.

use super::*;
use crate::contract::{Filter, Subject};

fn selection() -> Selection {
    Selection {
        kind: "shop.purchase".to_owned(),
        subject: Subject::Claimant,
        window: Window::LastDays(7),
        filters: vec![Filter {
            attribute: "gift.wrapped".to_owned(),
            equals: "지역 $.a[0]\"'".to_owned(),
        }],
    }
}

fn refused(query: Query) -> String {
    Plan::try_from(vec![Query::Grants, query]).unwrap_err().to_string()
}

#[test]
fn a_plan_serializes_as_its_queries() {
    let plan = Plan::try_from(vec![Query::Streak(selection()), Query::Attribute("level".to_owned())]).unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    assert!(json.is_array());
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
}

#[test]
fn an_invalid_kind_is_rejected() {
    for kind in ["", "shop purchase", "로그인", &"k".repeat(65)] {
        let message = refused(Query::Count(Selection {
            kind: kind.to_owned(),
            ..selection()
        }));
        assert!(
            message.starts_with("Query 1") && message.contains(&format!("{kind:?}")),
            "{message}"
        );
    }
}

#[test]
fn windows_are_1_to_3660_days() {
    for days in [0, 3661, u32::MAX] {
        let message = refused(Query::Sum(Selection {
            window: Window::LastDays(days),
            ..selection()
        }));
        assert!(message.contains(&format!("{days} days")), "{message}");
    }
    for days in [1, 3660] {
        let query = Query::Sum(Selection {
            window: Window::LastDays(days),
            ..selection()
        });
        assert!(Plan::try_from(vec![query]).is_ok());
    }
}

#[test]
fn invalid_attribute_names_and_filter_values_are_rejected() {
    for name in ["", "a b", "a\nb", "\0", "레벨", "$[0]", &"n".repeat(65)] {
        let filters = vec![Filter {
            attribute: name.to_owned(),
            equals: String::new(),
        }];
        for query in [
            Query::Attribute(name.to_owned()),
            Query::DistinctDays(Selection { filters, ..selection() }),
        ] {
            assert!(refused(query).contains(&format!("{name:?}")));
        }
    }
    let with = |equals: &str| {
        Query::First(Selection {
            filters: vec![Filter {
                attribute: "a".to_owned(),
                equals: equals.to_owned(),
            }],
            ..selection()
        })
    };
    assert!(refused(with("a\0b")).contains("U+0000"));
    assert!(refused(with(&"v".repeat(257))).contains("256"));
    assert!(Plan::try_from(vec![with("two\nlines"), with(&"값".repeat(256))]).is_ok());
}

#[test]
fn a_plan_has_maximum_sizes() {
    assert!(Plan::try_from(vec![Query::Grants; 32]).is_ok());
    assert_eq!(
        Plan::try_from(vec![Query::Grants; 33]),
        Err(InvalidPlan::TooManyQueries(33))
    );
    let filters = vec![selection().filters.remove(0); 9];
    assert!(refused(Query::Last(Selection { filters, ..selection() })).contains("9 filters"));
}
