//! Several instances on one PostgreSQL and one Redis: they act as one service, also while any of these fails.

mod access_ended;
mod commit_and_publish;
mod delivery;
mod forged_messages;
mod instance_deaths;
mod instance_faults;
mod new_secret;
mod presence;
mod presence_faults;
mod push_grace;
mod races;
mod receipts;
mod redis_failover;
mod redis_faults;
mod rolling_restart;
mod traffic;
