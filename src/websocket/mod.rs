//! RFC 6455: frames, the transport, and the queue of frames that wait for a peer. Nothing here depends on what
//! a frame says.

pub mod framing;
pub mod out_queue;
pub mod pace;
pub mod ping_proof;
pub mod transport;
