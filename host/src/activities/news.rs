//! Tells the streams of progress of this process that other processes recorded activities, and that the server itself did.
//!
//! Activities write no message. So this looks for the newest activity of each watched user: many users in one statement, and
//! only while there are any. Must not know: what progress is.

use std::collections::HashMap;

use uuid::Uuid;

use super::service::ActivityService;
use super::store;
use crate::background::{Context, Next, Task};

/// Users that one statement looks for.
const AT_ONCE: usize = 512;

/// The task. A backdated activity of another process is not the newest: the stream tells it with the next change.
pub struct ActivityNews {
    service: ActivityService,
    newest: HashMap<Uuid, Option<Uuid>>,
}

impl ActivityNews {
    pub fn new(service: ActivityService) -> Self {
        let newest = HashMap::new();
        Self { service, newest }
    }
}

impl Task for ActivityNews {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        let users = self.service.watch.touchable();
        let mut newest = HashMap::with_capacity(users.len());
        for users in users.chunks(AT_ONCE) {
            newest.extend(store::newest(&self.service.db, users).await?);
        }
        // Also those that are watched since the last run: an activity may have come between their progress and this.
        let changed = newest.iter().filter(|(user_id, id)| {
            let before = self.newest.get(*user_id);
            before.is_none_or(|before| before != *id)
        });
        let changed: Vec<Uuid> = changed.map(|(user_id, _)| *user_id).collect();
        self.newest = newest;
        self.service.watch.touch(changed);
        Ok(Next::Period)
    }
}
