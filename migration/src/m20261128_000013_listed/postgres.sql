-- The minute of a room's newest chat, and its order in the lists of its two chatters. A column of its own, since an
-- index over the time itself would be written with every chat, and every chat would write all indexes of the room.
-- The table is rewritten, which takes longer than a question of the server may.
SET LOCAL statement_timeout = 0;
ALTER TABLE chatrooms ADD COLUMN listed BIGINT GENERATED ALWAYS AS (last_chat_time / 60000000) STORED;
CREATE INDEX chatrooms_low_listed ON chatrooms (pair_low, listed);
CREATE INDEX chatrooms_high_listed ON chatrooms (pair_high, listed);
DROP INDEX chatrooms_high;
