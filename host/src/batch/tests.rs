//! What is done together, and what is not.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};

use super::*;

/// A letter that says with which others it goes, and a number that says which one it is.
#[derive(Debug, PartialEq)]
struct Letter(char, u32);

impl Job for Letter {
    fn is_compatible(&self, first: &Self) -> bool {
        self.0 == first.0
    }

    fn bytes(&self) -> usize {
        10
    }
}

const BOUNDS: Bounds = Bounds {
    waiting: 6,
    jobs: 3,
    bytes: 1000,
    // Longer than any test takes.
    max_delay: Duration::from_mins(1),
};

struct Office {
    letters: Batches<Letter>,
    batches: UnboundedReceiver<Vec<Letter>>,
    /// A worker needs one to end a batch.
    permits: Arc<Semaphore>,
}

fn office(workers: u32, bounds: Bounds) -> Office {
    let (begun, batches): (UnboundedSender<Vec<Letter>>, _) = unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let letters = Batches::new(workers, bounds, move |batch: Vec<Letter>| {
        let (begun, held) = (begun.clone(), Arc::clone(&held));
        async move {
            assert!(batch[0].0 != '!', "a letter that cannot be read");
            begun.send(batch).unwrap();
            held.acquire().await.unwrap().forget();
        }
    });
    Office {
        letters,
        batches,
        permits,
    }
}

impl Office {
    async fn next(&mut self) -> Vec<Letter> {
        tokio::time::timeout(Duration::from_secs(10), self.batches.recv())
            .await
            .expect("a batch is begun")
            .unwrap()
    }
}

#[tokio::test]
async fn who_finds_a_worker_idle_goes_alone_and_who_waits_goes_together() {
    let mut office = office(1, BOUNDS);
    office.letters.push(Letter('a', 1)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 1)]);
    for number in 2..=6 {
        office.letters.push(Letter('a', number)).unwrap();
    }
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3), Letter('a', 4)]);
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 5), Letter('a', 6)]);
}

#[tokio::test]
async fn others_wait_for_a_worker_of_their_own_and_keep_their_order() {
    let mut office = office(1, BOUNDS);
    office.letters.push(Letter('a', 1)).unwrap();
    office.next().await;
    for (kind, number) in [('a', 2), ('b', 3), ('c', 4), ('a', 5), ('b', 6)] {
        office.letters.push(Letter(kind, number)).unwrap();
    }
    office.permits.add_permits(3);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 5)]);
    assert_eq!(office.next().await, [Letter('b', 3), Letter('b', 6)]);
    assert_eq!(office.next().await, [Letter('c', 4)]);
}

#[tokio::test]
async fn a_second_worker_begins_when_a_whole_batch_waits() {
    let mut office = office(2, BOUNDS);
    office.letters.push(Letter('a', 1)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 1)]);
    for number in 2..=3 {
        office.letters.push(Letter('a', number)).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        office.batches.try_recv().is_err(),
        "two letters wait for the first worker"
    );
    office.letters.push(Letter('a', 4)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3), Letter('a', 4)]);
}

#[tokio::test]
async fn a_second_worker_begins_when_the_first_is_held_up() {
    let max_delay = Duration::from_millis(100);
    let mut office = office(2, Bounds { max_delay, ..BOUNDS });
    office.letters.push(Letter('a', 1)).unwrap();
    office.next().await;
    let pushed = Instant::now();
    office.letters.push(Letter('a', 2)).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    // What arrives meanwhile does not make the wait begin again.
    office.letters.push(Letter('a', 3)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3)]);
    assert!(pushed.elapsed() >= max_delay, "it waited for the first worker");
    office.permits.add_permits(1);
    office.letters.push(Letter('a', 4)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 4)]);
}

#[tokio::test]
async fn what_a_worker_passes_over_another_begins_when_it_has_waited() {
    let max_delay = Duration::from_millis(1);
    let mut office = office(2, Bounds { max_delay, ..BOUNDS });
    for (kind, number) in [('a', 1), ('b', 2)] {
        office.letters.push(Letter(kind, number)).unwrap();
    }
    let mut begun = [office.next().await, office.next().await];
    begun.sort_by_key(|batch| batch[0].1);
    assert_eq!(begun, [[Letter('a', 1)], [Letter('b', 2)]]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_the_queue_in_jobs() {
    let mut office = office(1, Bounds { bytes: 20, ..BOUNDS });
    office.letters.push(Letter('a', 0)).unwrap();
    office.next().await;
    for number in 1..=6 {
        office.letters.push(Letter('a', number)).unwrap();
    }
    assert_eq!(office.letters.push(Letter('a', 7)), Err(Letter('a', 7)));
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 1), Letter('a', 2)]);
}

#[tokio::test]
async fn a_panic_costs_its_own_batch_alone() {
    let mut office = office(1, BOUNDS);
    office.letters.push(Letter('!', 1)).unwrap();
    office.letters.push(Letter('a', 2)).unwrap();
    assert_eq!(office.next().await, [Letter('a', 2)]);
}

#[tokio::test]
async fn a_batch_that_was_begun_is_finished() {
    let (done, told) = oneshot::channel();
    let done = Arc::new(Mutex::new(Some(done)));
    let (begun, mut batches) = unbounded_channel();
    let letters = Batches::new(1, BOUNDS, move |batch: Vec<Letter>| {
        let (done, begun) = (Arc::clone(&done), begun.clone());
        async move {
            begun.send(batch).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            done.lock().unwrap().take().unwrap().send(()).unwrap();
        }
    });
    letters.push(Letter('a', 1)).unwrap();
    batches.recv().await.unwrap();
    drop(letters);
    told.await.unwrap();
}
