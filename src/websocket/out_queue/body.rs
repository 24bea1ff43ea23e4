//! The reading side of a queue: the body that the HTTP connection writes out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use super::{Shared, State};

/// The response body of an upgraded connection.
pub struct OutBody {
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) bytes_max: usize,
}

impl Stream for OutBody {
    type Item = Result<Bytes, actix_web::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.shared.lock();
        if let Some(chunk) = shared.pop() {
            if shared.bytes <= self.bytes_max {
                shared.overfull = None;
            }
            let producer = if shared.is_roomy(self.bytes_max) { shared.producer.take() } else { None };
            drop(shared);
            if let Some(producer) = producer {
                producer.wake();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        if shared.state == State::Ended {
            return Poll::Ready(None);
        }
        // The memory of a burst is freed, so that an idle socket costs little.
        if shared.chunks.capacity() > 64 {
            shared.chunks = VecDeque::new();
        }
        match &mut shared.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for OutBody {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.state = State::Ended;
        shared.clear();
        let producer = shared.producer.take();
        drop(shared);
        if let Some(producer) = producer {
            producer.wake();
        }
    }
}
