//! The correlation id of the work that a task does: in the log, in every problem, in every outbox message.
//!
//! The protocol that brings the work sets it: an HTTP request's id comes from `X-Request-Id` or is minted
//! (`http/request_id.rs`). Must not know: any protocol or feature.

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the work that the current task does; `None` outside of [`scope`].
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `future` under the id.
pub async fn scope<F: Future>(id: String, future: F) -> F::Output {
    CURRENT.scope(id, future).await
}

/// Keeps the caller's id for a future that is spawned as a separate task.
pub fn inherited<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let id = current();
    async move {
        match id {
            Some(id) => scope(id, future).await,
            None => future.await,
        }
    }
}

/// Whether an id that a client chose is safe in logs and headers: 1 to 64 ASCII letters, digits, `-`, `_` and `.`.
pub fn is_safe(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spawned_task_inherits_the_id() {
        assert_eq!(current(), None);
        let spawned = scope("order-1".to_owned(), async {
            assert_eq!(current().as_deref(), Some("order-1"));
            [
                tokio::spawn(inherited(async { current() })),
                tokio::spawn(async { current() }),
            ]
        });
        let [inheriting, alone] = spawned.await;
        assert_eq!(inheriting.await.unwrap().as_deref(), Some("order-1"));
        assert_eq!(alone.await.unwrap(), None);
    }

    #[test]
    fn an_id_with_control_characters_spaces_or_excessive_length_is_unsafe() {
        assert!(is_safe("order-1_a.B"));
        for id in ["", "a b", "a\nb", "é", &"x".repeat(65)] {
            assert!(!is_safe(id), "{id:?}");
        }
    }
}
