//! The background tasks of a server, each under a name, so that the log says which one failed.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// Running tasks. Dropping it aborts them all.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task on this thread; called inside the actix system.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let id = self.running.spawn_local(task).id();
        self.names.insert(id, name);
    }

    /// Ends all tasks at their next await.
    pub(super) fn abort(&mut self) {
        self.running.abort_all();
    }

    /// Waits for the first task that fails, and gives its name. Tasks may end: a single instance has less to do.
    pub(super) async fn failed(&mut self) -> &'static str {
        while let Some(ended) = self.running.join_next_with_id().await {
            if let Err(error) = ended {
                return self.names.get(&error.id()).copied().unwrap_or("unnamed");
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn the_task_that_panics_is_named_and_one_that_ends_is_not() {
        let mut tasks = Tasks::default();
        tasks.spawn("ends", async {});
        tasks.spawn("fails", async { panic!("as the test wants") });
        assert_eq!(tasks.failed().await, "fails");
    }
}
