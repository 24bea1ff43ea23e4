-- Sessions: a sign-in that can be refreshed and is shown to its chatter. Servers of an earlier release insert sign-ins
-- without these columns; such a sign-in has no refresh token and ends with its token.
ALTER TABLE sign_ins
  -- SHA-256 of the newest refresh token.
  ADD COLUMN refresh_hash BYTEA,
  -- When that one replaced its predecessor, by the database's clock.
  ADD COLUMN refresh_time BIGINT,
  -- The `iat` of the token that was issued with it, by the clock of the instance that issued it.
  ADD COLUMN token_time BIGINT,
  ADD COLUMN last_used_time BIGINT,
  ADD COLUMN device_name TEXT,
  -- The network that the last sign-in or refresh came from.
  ADD COLUMN address_class TEXT;
