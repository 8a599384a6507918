//! The tasks that a task spawns: one per key, such as one per webhook endpoint.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

/// At most one child for each key. Dropping it aborts all of them.
#[derive(Debug)]
pub struct Children<K> {
    tasks: JoinSet<()>,
    keys: HashMap<Id, K>,
    wakers: HashMap<K, Arc<Notify>>,
}

impl<K: Clone + Eq + Hash> Children<K> {
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            keys: HashMap::new(),
            wakers: HashMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Notifies the child that has this key; `false`: there is none.
    pub fn wake(&self, key: &K) -> bool {
        let waker = self.wakers.get(key);
        if let Some(waker) = waker {
            waker.notify_one();
        }
        waker.is_some()
    }

    /// Spawns a child; `start` gets what [`Self::wake`] notifies. Does nothing when the key has one.
    pub fn spawn<F>(&mut self, key: K, start: impl FnOnce(Arc<Notify>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.wakers.contains_key(&key) {
            return;
        }
        let waker = Arc::new(Notify::new());
        self.wakers.insert(key.clone(), Arc::clone(&waker));
        let child = self.tasks.spawn(start(waker));
        self.keys.insert(child.id(), key);
    }

    /// Forgets the children that have ended. An error is the panic of one of them; the key can be used again.
    pub fn reap(&mut self) -> Result<(), JoinError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            outcome = outcome.and(self.finish(ended));
        }
        outcome
    }

    /// Waits until all children have ended.
    pub async fn join_all(&mut self) -> Result<(), JoinError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next_with_id().await {
            outcome = outcome.and(self.finish(ended));
        }
        outcome
    }

    fn finish(&mut self, ended: Result<(Id, ()), JoinError>) -> Result<(), JoinError> {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Some(key) = self.keys.remove(&id) {
            self.wakers.remove(&key);
        }
        ended.map(drop)
    }
}

impl<K: Clone + Eq + Hash> Default for Children<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_has_one_child_and_another_one_after_it_has_ended() {
        let mut children = Children::new();
        let started = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let spawn = |children: &mut Children<&str>| {
            let started = Arc::clone(&started);
            children.spawn("a", |waker| async move {
                started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                waker.notified().await;
            });
        };
        spawn(&mut children);
        spawn(&mut children);
        assert_eq!(children.len(), 1);
        assert!(children.wake(&"a"));
        assert!(!children.wake(&"b"));
        children.join_all().await.unwrap();
        assert!(children.is_empty());
        spawn(&mut children);
        assert!(children.wake(&"a"));
        children.join_all().await.unwrap();
        assert_eq!(started.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_panic_is_reported_and_frees_the_key() {
        let mut children = Children::new();
        children.spawn(1, |_| async { panic!("planned") });
        let panic = children.join_all().await.unwrap_err();
        assert!(panic.is_panic());
        assert!(!children.wake(&1));
        assert_eq!(children.reap().map_err(|error| error.to_string()), Ok(()));
    }
}
