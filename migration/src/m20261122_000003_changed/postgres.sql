-- Rooms that were deleted, and chatters whose sign-ins ended or who are gone themselves (without a room, in both places):
-- kept for an hour, for instances that could not be told.
CREATE TABLE endings (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chatroom_id BIGINT,
  pair_low BIGINT NOT NULL,
  pair_high BIGINT NOT NULL,
  create_time BIGINT NOT NULL
);
