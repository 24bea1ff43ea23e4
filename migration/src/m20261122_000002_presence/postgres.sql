-- An index over many rooms takes longer than a question of the server may.
SET LOCAL statement_timeout = 0;
-- A chatter's rooms in the order of their ids, page by page. Before chatters are locked, for that takes a moment.
CREATE INDEX members_chatter_room ON members (chatter_id, chatroom_id);
DROP INDEX members_chatter;

ALTER TABLE chatters
  -- When the last socket of the chatter closed.
  ADD COLUMN last_seen BIGINT,
  -- Whether those who share a room see that, and who is online.
  ADD COLUMN show_last_seen BOOLEAN NOT NULL DEFAULT TRUE,
  -- Whether the other person sees what was delivered and read.
  ADD COLUMN show_receipts BOOLEAN NOT NULL DEFAULT TRUE;
