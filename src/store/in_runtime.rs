//! A query that may be dropped anywhere: sqlx gives the connection back by a task, which needs a runtime. An actor's thread
//! that ends drops the queries of its actors when its own runtime is gone.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that is dropped within the runtime in which it was created.
pub(super) struct InRuntime<F> {
    /// None once it is being dropped.
    future: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F> InRuntime<F> {
    /// Has to be called within a runtime.
    pub(super) fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), runtime: Handle::current() }
    }
}

impl<F: Future> Future for InRuntime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.future.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(context))
    }
}

impl<F> Drop for InRuntime<F> {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.future = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a connection does that is given back.
    struct NeedsRuntime;

    impl Drop for NeedsRuntime {
        fn drop(&mut self) {
            Handle::current().spawn(async {});
        }
    }

    #[test]
    fn a_query_is_dropped_within_its_runtime_where_the_thread_has_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let connection = NeedsRuntime;
        let query = {
            let _entered = runtime.enter();
            InRuntime::new(async move {
                let _connection = connection;
                std::future::pending::<()>().await;
            })
        };
        drop(runtime);
        drop(query);
    }
}
