//! Which changes of a room a socket is sent, and in which order: pure, without actors, sockets or the database.

pub mod chatroom_cursor;
pub mod device_cursors;
pub mod event;
pub mod order;
pub mod run;
