-- The minute of a room's newest chat, and its order in the lists of its two chatters. A column of its own, since an
-- index over the time itself would be written with every chat. Triggers keep it, so that only a new minute costs.
ALTER TABLE chatrooms ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
UPDATE chatrooms SET listed = last_chat_time / 60000000;
CREATE INDEX chatrooms_low_listed ON chatrooms (pair_low, listed);
CREATE INDEX chatrooms_high_listed ON chatrooms (pair_high, listed);
DROP INDEX chatrooms_high;
CREATE TRIGGER chatrooms_inserted AFTER INSERT ON chatrooms BEGIN
  UPDATE chatrooms SET listed = NEW.last_chat_time / 60000000 WHERE id = NEW.id;
END;
CREATE TRIGGER chatrooms_moved AFTER UPDATE OF last_chat_time ON chatrooms
  WHEN NEW.last_chat_time / 60000000 <> NEW.listed BEGIN
  UPDATE chatrooms SET listed = NEW.last_chat_time / 60000000 WHERE id = NEW.id;
END;
