//! Which jobs share a batch, and when it starts.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};

use super::*;

/// Letters share a batch with the same kind; the number identifies one.
#[derive(Clone, Debug, PartialEq)]
struct Letter(char, u32);

impl Job for Letter {
    type Answer = u32;

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
    /// A worker needs one to complete a batch.
    permits: Arc<Semaphore>,
    answers: Vec<oneshot::Receiver<u32>>,
}

fn office(workers: u32, bounds: Bounds) -> Office {
    let (started, batches): (UnboundedSender<Vec<Letter>>, _) = unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let letters = Batches::new(workers, bounds, move |batch: Vec<Letter>| {
        let (started, held) = (started.clone(), Arc::clone(&held));
        async move {
            assert!(batch[0].0 != '!', "an unreadable letter");
            started.send(batch.clone()).unwrap();
            held.acquire().await.unwrap().forget();
            batch.iter().map(|letter| letter.1).collect()
        }
    });
    Office {
        letters,
        batches,
        permits,
        answers: Vec::new(),
    }
}

impl Office {
    fn push(&mut self, kind: char, number: u32) {
        self.answers.push(self.letters.push(Letter(kind, number)).unwrap());
    }

    async fn next(&mut self) -> Vec<Letter> {
        tokio::time::timeout(Duration::from_secs(10), self.batches.recv())
            .await
            .expect("a batch starts")
            .unwrap()
    }
}

#[tokio::test]
async fn a_job_that_finds_an_idle_worker_runs_alone_and_waiting_jobs_run_together() {
    let mut office = office(1, BOUNDS);
    office.push('a', 1);
    assert_eq!(office.next().await, [Letter('a', 1)]);
    for number in 2..=6 {
        office.push('a', number);
    }
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3), Letter('a', 4)]);
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 5), Letter('a', 6)]);
    office.permits.add_permits(1);
    for (answer, number) in office.answers.into_iter().zip(1..) {
        assert_eq!(answer.await, Ok(number));
    }
}

#[tokio::test]
async fn incompatible_jobs_get_a_batch_of_their_own_and_keep_their_order() {
    let mut office = office(1, BOUNDS);
    office.push('a', 1);
    office.next().await;
    for (kind, number) in [('a', 2), ('b', 3), ('c', 4), ('a', 5), ('b', 6)] {
        office.push(kind, number);
    }
    office.permits.add_permits(3);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 5)]);
    assert_eq!(office.next().await, [Letter('b', 3), Letter('b', 6)]);
    assert_eq!(office.next().await, [Letter('c', 4)]);
}

#[tokio::test]
async fn a_second_worker_starts_when_a_whole_batch_waits() {
    let mut office = office(2, BOUNDS);
    office.push('a', 1);
    assert_eq!(office.next().await, [Letter('a', 1)]);
    for number in 2..=3 {
        office.push('a', number);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        office.batches.try_recv().is_err(),
        "two letters wait for the first worker"
    );
    office.push('a', 4);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3), Letter('a', 4)]);
}

#[tokio::test]
async fn a_second_worker_starts_when_the_first_is_held_up() {
    let max_delay = Duration::from_millis(100);
    let mut office = office(2, Bounds { max_delay, ..BOUNDS });
    office.push('a', 1);
    office.next().await;
    let pushed = Instant::now();
    office.push('a', 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    // A later job does not restart the wait.
    office.push('a', 3);
    assert_eq!(office.next().await, [Letter('a', 2), Letter('a', 3)]);
    assert!(pushed.elapsed() >= max_delay, "it waited for the first worker");
    office.permits.add_permits(1);
    office.push('a', 4);
    assert_eq!(office.next().await, [Letter('a', 4)]);
}

#[tokio::test]
async fn another_worker_runs_the_jobs_that_the_first_passed_over() {
    let max_delay = Duration::from_millis(1);
    let mut office = office(2, Bounds { max_delay, ..BOUNDS });
    office.push('a', 1);
    office.push('b', 2);
    let mut started = [office.next().await, office.next().await];
    started.sort_by_key(|batch| batch[0].1);
    assert_eq!(started, [[Letter('a', 1)], [Letter('b', 2)]]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_the_queue_in_jobs() {
    let mut office = office(1, Bounds { bytes: 20, ..BOUNDS });
    office.push('a', 0);
    office.next().await;
    for number in 1..=6 {
        office.push('a', number);
    }
    assert_eq!(office.letters.submit(Letter('a', 7)).await, Err(Unanswered::Full));
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 1), Letter('a', 2)]);
}

#[tokio::test]
async fn a_job_whose_caller_has_left_does_not_run() {
    let mut office = office(1, BOUNDS);
    office.push('a', 1);
    office.next().await;
    office.push('a', 2);
    office.push('a', 3);
    drop(office.answers.remove(1));
    office.permits.add_permits(1);
    assert_eq!(office.next().await, [Letter('a', 3)]);
}

#[tokio::test]
async fn a_panic_costs_only_its_own_batch() {
    let mut office = office(1, BOUNDS);
    assert_eq!(office.letters.submit(Letter('!', 1)).await, Err(Unanswered::Lost));
    office.push('a', 2);
    assert_eq!(office.next().await, [Letter('a', 2)]);
}

#[tokio::test]
async fn a_batch_that_has_started_completes() {
    let (done, completed) = oneshot::channel();
    let done = Arc::new(Mutex::new(Some(done)));
    let (started, mut batches) = unbounded_channel();
    let letters = Batches::new(1, BOUNDS, move |batch: Vec<Letter>| {
        let (done, started) = (Arc::clone(&done), started.clone());
        async move {
            started.send(batch.clone()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            done.lock().unwrap().take().unwrap().send(()).unwrap();
            batch.iter().map(|letter| letter.1).collect()
        }
    });
    let _answer = letters.push(Letter('a', 1)).unwrap();
    batches.recv().await.unwrap();
    drop(letters);
    completed.await.unwrap();
}
