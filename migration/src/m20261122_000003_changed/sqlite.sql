-- Finds what was edited or deleted lately in any room.
CREATE INDEX chats_altered ON chats (coalesce(delete_time, edit_time))
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL;

-- Rooms that were deleted, and chatters whose sign-ins ended or who are gone themselves (without a room, in both places):
-- kept for an hour, for instances that could not be told.
CREATE TABLE endings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  chatroom_id BIGINT,
  pair_low BIGINT NOT NULL,
  pair_high BIGINT NOT NULL,
  create_time BIGINT NOT NULL
);
