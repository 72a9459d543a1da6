//! Lets hyper start tasks that the proxy owns.

use tokio_util::task::TaskTracker;

/// Starts hyper's tasks among the proxy's own, which end before the proxy does.
#[derive(Clone)]
pub(crate) struct Spawn(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
