-- Finds what was edited or deleted lately in any room: what an instance asks that may have missed it.
CREATE INDEX chats_altered ON chats (coalesce(delete_time, edit_time))
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL;
