-- An index of chats by their last edit or deletion.
CREATE INDEX chats_altered ON chats (coalesce(delete_time, edit_time))
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL;
