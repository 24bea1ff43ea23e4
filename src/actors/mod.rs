//! The actors: each chatroom, each connected chatter's socket and the notifier is one.
//!
//! | actor | lives | mailbox | full means |
//! |---|---|---|---|
//! | [`room`] | one per chatroom in use, on an HTTP worker; retired when idle | [`ROOM_MAILBOX`] commands | the command is refused with `busy`, to be retried; nothing is lost |
//! | [`session`] | one per live socket, on the HTTP worker that accepted it | [`SESSION_MAILBOX`] control messages | the message is dropped: the socket is closing already, or its next heartbeat sees why |
//! | [`notifier`] | one per instance | [`NOTIFIER_MAILBOX`] nudges | the nudge is dropped and counted: the push is due after its grace anyway |
//!
//! | queue | bound | full means |
//! |---|---|---|
//! | a socket's out-queue ([`session::out_queue`]) | `limits.socket_queue_bytes` for 2 s, 16 times that at once | the reader is too slow: closed 4508, comes back and resumes |
//! | a room's commands in flight ([`room`]) | [`ROOM_IN_FLIGHT`] | `busy` |
//! | the store's writer | 8,192 commands | `busy` |
//! | what other instances are told ([`crate::relay`]) | 8,192 messages, 16 MiB | dropped and counted: they read the database |
//! | nudges that wait until other instances are asked ([`notifier::keeper`]) | [`NOTIFIER_MAILBOX`] | as a full notifier |
//! | who came or went while nobody could hear or know ([`presence`]) | 65,536 chatters | their next news puts it right |
//!
//! Who sends what to whom: `http` and sessions tell rooms, through the [`registry`]; rooms hand commands to the
//! store's writer and hear of them after the commit; rooms put frames straight into the out-queues of the
//! [`sessions`], tell the other instances, and nudge the notifier. What those tell comes in through [`cluster`]. Nobody waits for an actor but `http`, for a room's reply, with a deadline.

pub mod cluster;
pub mod notifier;
pub mod presence;
pub mod receipts;
pub mod registry;
pub mod room;
pub mod session;
pub mod sessions;
pub mod tally;

/// A room's mailbox: a burst of every pipelining client in it, before the first is looked at.
pub const ROOM_MAILBOX: usize = 512;
/// Commands of one room that wait for their commit.
pub const ROOM_IN_FLIGHT: usize = 2_048;
/// A session's mailbox: it carries "close" and little else.
pub const SESSION_MAILBOX: usize = 16;
/// The notifier's mailbox.
pub const NOTIFIER_MAILBOX: usize = 1_024;
