use super::*;

const NOON: i64 = 1_772_366_400_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOON + seconds * 1000).unwrap()
}

fn entry(seconds: i64) -> GrantedEntry {
    GrantedEntry {
        event_revision: 1,
        reward_request_id: Uuid::from_u128(1),
        grant_ids: vec![Uuid::from_u128(2)],
        at: at(seconds),
    }
}

fn alone() -> GrantedCache {
    GrantedCache::new(Shared::in_process(&[0; 32]))
}

#[tokio::test]
async fn without_invalidations_an_entry_is_valid_for_two_seconds() {
    let cache = alone();
    cache.remember("name".to_owned(), entry(0)).await;
    assert_eq!(cache.find("name", at(1)).await, Some(entry(0)));
    assert_eq!(cache.find("name", at(2)).await, None);
    assert_eq!(cache.find("name", at(-1)).await, None, "from the future");
    assert_eq!(cache.find("another", at(1)).await, None);
}

#[tokio::test]
async fn a_late_reader_cannot_restore_an_invalidated_entry() {
    let (event, user) = (Uuid::from_u128(3), Uuid::from_u128(4));
    let cache = alone();
    let name = name(event, user, "once");
    cache.remember(name.clone(), entry(0)).await;
    cache.invalidate(event, user, "once").await;
    assert_eq!(cache.find(&name, at(0)).await, None);
    cache.remember(name.clone(), entry(0)).await;
    assert_eq!(cache.find(&name, at(0)).await, None);
}

#[tokio::test]
async fn invalidations_of_other_processes_remove_entries() {
    let cache = alone();
    for name in ["one", "two"] {
        cache.remember(name.to_owned(), entry(0)).await;
    }
    let one = Invalidation::Changed(Topic::Granted("one".to_owned()));
    cache.on_invalidation(&one).await;
    assert_eq!(cache.find("one", at(0)).await, None);
    assert_eq!(cache.find("two", at(0)).await, Some(entry(0)));
    cache.on_invalidation(&Invalidation::All).await;
    assert_eq!(cache.find("two", at(0)).await, None);
}
