//! The commands that run to their end without serving clients.

use std::path::Path;

use actix::System;

use super::{RunError, settings};
use crate::config::Config;
use crate::store::restore::Restored;
use crate::store::{Mend, Report, Store};

/// `hyper-chat migrate`. Blocks the thread.
pub fn migrate(config: Config) -> Result<(), RunError> {
    System::new().block_on(async {
        Store::migrate(&settings::store(&config)).await?;
        tracing::info!("the schema is up to date");
        Ok(())
    })
}

/// `hyper-chat backup FILE`. Blocks the thread.
pub fn backup(config: Config, to: &Path) -> Result<(), RunError> {
    System::new().block_on(async {
        let bytes = Store::back_up(&settings::store(&config), to).await?;
        tracing::info!(file = %to.display(), bytes, "the backup is complete");
        Ok(())
    })
}

/// `hyper-chat epoch`: the name of the database's epoch. Blocks the thread.
pub fn epoch(config: Config) -> Result<String, RunError> {
    System::new().block_on(async { Ok(Store::epoch_of(&settings::store(&config)).await?) })
}

/// `hyper-chat epoch --new`: begins a new epoch and returns its name. Blocks the thread.
pub fn begin_epoch(config: Config) -> Result<String, RunError> {
    System::new().block_on(async { Ok(Store::begin_epoch(&settings::store(&config)).await?) })
}

/// `hyper-chat restore FILE`. Blocks the thread.
pub fn restore(config: Config, backup: &Path) -> Result<(), RunError> {
    System::new().block_on(async {
        let Restored { epoch, former } = Store::restore(&settings::store(&config), backup).await?;
        let former = former.map(|file| file.display().to_string());
        tracing::info!(epoch, former, "the backup is in place, with a new epoch: everybody has to sign in again");
        Ok(())
    })
}

/// `hyper-chat check`: what is wrong with the database. Blocks the thread.
pub fn check(config: Config, mend: Mend) -> Result<Report, RunError> {
    System::new().block_on(async { Ok(Store::check(&settings::store(&config), mend).await?) })
}
