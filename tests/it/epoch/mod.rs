//! The epoch of the database: after it was set back, no token and no cursor of the lost time means something else
//! (row B4).

mod command;
mod failover;
mod restore;
