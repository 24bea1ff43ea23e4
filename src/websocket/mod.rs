//! RFC 6455 for the sessions: frames, the transport, and the queue of bytes that wait for a peer. Knows no chats.

pub mod framing;
pub mod out_queue;
pub mod ping_proof;
pub mod transport;
