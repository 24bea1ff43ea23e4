-- What was deleted and still has rows. A deleted room loses its row in chatrooms at once, so nobody finds it; its chats are
-- deleted in small pieces behind it.
CREATE TABLE pending_deletions (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  -- 'chats': the chats of the room subject_id. 'rooms', 'rooms_closing': the rooms of the deleted chatter subject_id are
  -- deleted, or closed. What sorts last is done first.
  kind        TEXT NOT NULL,
  subject_id  INTEGER NOT NULL,
  -- The seq, or the room's id, up to which the work is done, and the last one.
  done        INTEGER NOT NULL,
  last        INTEGER NOT NULL,
  create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX pending_deletions_next ON pending_deletions (kind DESC, id);

-- One row: until when one instance does this work, by the database's clock.
CREATE TABLE deletion_lease (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  end_time INTEGER NOT NULL
) STRICT;
INSERT INTO deletion_lease (one, end_time) VALUES (1, 0);
