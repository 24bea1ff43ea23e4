//! One argon2id hash, computed in memory that its thread keeps for the next one.
//!
//! Blocks of 19 MiB that are given back and taken again for each hash leave some allocators with hundreds of MiB that
//! they do not use.

use std::cell::RefCell;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, PasswordHasher};
use argon2::{Algorithm, Argon2, Block, Params, Version};

thread_local! {
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Computes hashes with these parameters.
#[derive(Clone)]
pub(super) struct Hasher {
    algorithm: Algorithm,
    version: Version,
    params: Params,
}

impl Hasher {
    /// Argon2id in its newest version.
    pub(super) fn new(params: Params) -> Self {
        Self { algorithm: Algorithm::Argon2id, version: Version::V0x13, params }
    }

    pub(super) fn params(&self) -> &Params {
        &self.params
    }
}

impl PasswordHasher<PasswordHash> for Hasher {
    fn hash_password_with_salt(&self, password: &[u8], salt: &[u8]) -> password_hash::Result<PasswordHash> {
        let salt = Salt::new(salt)?;
        let length = self.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut output = [0; Output::MAX_LENGTH];
        let output = output.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        MEMORY.with_borrow_mut(|memory| {
            memory.resize(self.params.block_count(), Block::new());
            // A stored hash may have had larger parameters.
            memory.shrink_to_fit();
            argon2.hash_password_into_with_memory(password, &salt, output, memory)
        })?;
        Ok(PasswordHash {
            algorithm: self.algorithm.ident(),
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params)?,
            salt: Some(salt),
            hash: Some(Output::new(output)?),
        })
    }
}

/// With this, a password is compared with a stored hash by the parameters of that hash.
impl CustomizedPasswordHasher<PasswordHash> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        Self { algorithm, version, params }.hash_password_with_salt(password, salt)
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    #[test]
    fn a_hash_is_the_one_of_the_library_whatever_the_thread_has_computed_before() {
        for (memory_kib, iterations) in [(64, 1), (8, 2), (128, 1)] {
            let params = Params::new(memory_kib, iterations, 1, None).unwrap();
            let (own, library) = (Hasher::new(params.clone()), Argon2::from(params));
            for password in ["one", "another"] {
                let hash = own.hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap();
                assert_eq!(hash, library.hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap());
                assert!(Hasher::new(Params::DEFAULT).verify_password(password.as_bytes(), &hash).is_ok());
                assert!(Hasher::new(Params::DEFAULT).verify_password(b"neither", &hash).is_err());
            }
        }
    }
}
