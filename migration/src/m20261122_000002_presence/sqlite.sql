-- When the last socket of the chatter closed.
ALTER TABLE chatters ADD COLUMN last_seen INTEGER;
-- Whether those who share a room see that, and who is online.
ALTER TABLE chatters ADD COLUMN show_last_seen INTEGER NOT NULL DEFAULT 1;
-- Whether the other person sees what was delivered and read.
ALTER TABLE chatters ADD COLUMN show_receipts INTEGER NOT NULL DEFAULT 1;
