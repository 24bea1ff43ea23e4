-- Accounts of an identity provider, and a time before which an account's tokens without a sign-in are void.
-- The issuer of the account's tokens, a blank, and their subject; null for an account with a password.
ALTER TABLE chatters ADD COLUMN external_id TEXT;
-- Microseconds since 1970, UTC; null means that no token is void.
ALTER TABLE chatters ADD COLUMN tokens_void_before INTEGER;
CREATE UNIQUE INDEX chatters_external_id_key ON chatters (external_id) WHERE external_id IS NOT NULL;
-- Accounts of an identity provider that were deleted: their tokens open no account again.
CREATE TABLE retired_external_ids (
  -- SHA-256 of the external id, since the id itself must not stay.
  hash TEXT PRIMARY KEY,
  delete_time INTEGER NOT NULL
) STRICT;
