//! The device socket `/ws`: signing in, chats, receipts, presence, rooms, resuming, and what its frames may be.

mod access;
mod chat_retries;
mod chats;
mod closing;
mod faults;
mod frames;
mod limits;
mod presence;
mod receipts;
mod resume;
mod resume_faults;
mod rooms;
mod shares;
mod sign_in;
