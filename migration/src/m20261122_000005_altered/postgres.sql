-- An index of chats by their last edit or deletion, for instances that may have missed one.
-- It is built beside running instances, outside a transaction, so that chats go on being stored. An interrupted build
-- leaves an invalid index behind, which the second statement removes. Both statements on the index wait for every open
-- transaction, and no transaction waits for them.
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS chats_altered;
CREATE INDEX CONCURRENTLY chats_altered ON chats (coalesce(delete_time, edit_time))
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL;
