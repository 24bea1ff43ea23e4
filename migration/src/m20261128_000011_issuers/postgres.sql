-- Accounts of an identity provider, and a time before which an account's tokens without a sign-in are void. Servers of an
-- earlier release insert accounts without these columns and change none of them.
ALTER TABLE chatters
  -- The issuer of the account's tokens, a blank, and their subject; null for an account with a password.
  ADD COLUMN external_id TEXT,
  -- Microseconds since 1970, UTC; null means that no token is void.
  ADD COLUMN tokens_void_before BIGINT;
CREATE UNIQUE INDEX chatters_external_id_key ON chatters (external_id) WHERE external_id IS NOT NULL;
-- Accounts of an identity provider that were deleted: their tokens open no account again.
CREATE TABLE retired_external_ids (
  -- SHA-256 of the external id, since the id itself must not stay.
  hash TEXT PRIMARY KEY,
  delete_time BIGINT NOT NULL
);
