-- Sessions: a sign-in that can be refreshed and is shown to its chatter. A sign-in of an earlier release has no refresh
-- token and ends with its token.
-- SHA-256 of the newest refresh token.
ALTER TABLE sign_ins ADD COLUMN refresh_hash BLOB;
-- When that one replaced its predecessor, by the database's clock.
ALTER TABLE sign_ins ADD COLUMN refresh_time INTEGER;
-- The `iat` of the token that was issued with it, by the clock of the server that issued it.
ALTER TABLE sign_ins ADD COLUMN token_time INTEGER;
ALTER TABLE sign_ins ADD COLUMN last_used_time INTEGER;
ALTER TABLE sign_ins ADD COLUMN device_name TEXT;
-- The network that the last sign-in or refresh came from.
ALTER TABLE sign_ins ADD COLUMN address_class TEXT;
