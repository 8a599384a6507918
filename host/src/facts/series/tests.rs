use super::*;
use crate::contract::Window;

fn selection(kind: &str, subject: Subject, filters: &[(&str, &str)]) -> Selection {
    let filter = |(attribute, equals): &(&str, &str)| Filter {
        attribute: (*attribute).to_owned(),
        equals: (*equals).to_owned(),
    };
    Selection {
        kind: kind.to_owned(),
        subject,
        window: Window::AllTime,
        filters: filters.iter().map(filter).collect(),
    }
}

fn id(query: &Query, zone: &str) -> i64 {
    let zone: Zone = zone.parse().unwrap();
    Series::of(query, &zone).unwrap().id
}

#[test]
fn queries_about_the_same_activities_share_a_series() {
    let plain = selection("a", Subject::Claimant, &[]);
    let mut last_week = plain.clone();
    last_week.window = Window::LastDays(7);
    let count = id(&Query::Count(plain.clone()), "UTC");
    assert_eq!(count, id(&Query::Sum(last_week.clone()), "Asia/Seoul"));
    assert_ne!(count, id(&Query::Streak(plain.clone()), "UTC"));
    assert_eq!(
        id(&Query::Streak(plain.clone()), "UTC"),
        id(&Query::DistinctDays(last_week), "UTC")
    );
    assert_ne!(
        id(&Query::Streak(plain.clone()), "UTC"),
        id(&Query::Streak(plain), "Asia/Seoul")
    );
}

#[test]
fn the_order_and_repetition_of_filters_make_no_difference() {
    let one = selection("a", Subject::Claimant, &[("x", "1"), ("y", "2"), ("x", "1")]);
    let other = selection("a", Subject::Claimant, &[("y", "2"), ("x", "1")]);
    let less = selection("a", Subject::Claimant, &[("y", "2")]);
    let [one, other, less] = [one, other, less].map(|selection| id(&Query::Count(selection), "UTC"));
    assert_eq!(one, other);
    assert_ne!(one, less);
}

#[test]
fn the_id_of_a_series_never_changes() {
    let plain = selection("shop.purchase", Subject::Claimant, &[("category", "hats")]);
    assert_eq!(id(&Query::Count(plain), "UTC"), -1_347_010_652_974_315_616);
}

#[test]
fn the_activities_of_invitees_have_a_series_of_their_own() {
    let [own, invitees] =
        [Subject::Claimant, Subject::Invitees].map(|subject| id(&Query::Count(selection("a", subject, &[])), "UTC"));
    assert_ne!(own, invitees);
}

#[test]
fn a_plan_needs_a_series_for_each_window_of_its_queries() {
    let zone: Zone = "UTC".parse().unwrap();
    let at = |window| Selection {
        window,
        ..selection("a", Subject::Claimant, &[])
    };
    let since = Timestamp::from_millis(7_000).unwrap();
    let queries = vec![
        Query::Count(at(Window::AllTime)),
        Query::First(at(Window::Since(since))),
        Query::Sum(at(Window::LastDays(30))),
        Query::Last(at(Window::LastDays(7))),
        Query::Streak(at(Window::EventPeriod)),
        Query::Grants,
    ];
    let plan = Plan::try_from(queries).unwrap();
    let starts = Timestamp::from_millis(9_000).unwrap();
    let needs = Series::of_plan(&plan, &zone, starts);
    let mut needs: Vec<_> = needs
        .into_iter()
        .map(|need| (need.series.zone, need.starts.into_iter().collect::<Vec<_>>(), need.days))
        .collect();
    needs.sort();
    assert_eq!(
        needs,
        [(None, vec![0, 7_000], 30), (Some("UTC".to_owned()), vec![9_000], 0)]
    );
}
