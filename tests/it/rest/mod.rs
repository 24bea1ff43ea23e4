//! The REST interface, one file for each kind of resource, and the refusals that all of them share.

mod account_deletion;
pub mod account_rules;
mod accounts;
mod audit;
mod chat_retries;
mod chats;
mod cors;
mod history;
mod http_rules;
mod large_answers;
mod push_tokens;
mod refresh;
mod refusals;
mod room_pages;
mod rooms;
mod search;
mod search_load;
pub mod sessions;
mod sign_in_races;
mod tokens;
