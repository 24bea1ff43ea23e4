-- Times are microseconds since 1970-01-01 UTC: exact, ordered, and the same type on both databases.
-- AUTOINCREMENT: an id is never given twice, not even after its row was deleted.

CREATE TABLE chatters (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  username      TEXT NOT NULL,
  -- The username in lower case; after deletion a hash of it, so that nobody takes the name over.
  username_key  TEXT NOT NULL UNIQUE,
  nickname      TEXT NOT NULL,
  -- NULL for an account that has been deleted: nothing can sign in to it.
  password_hash TEXT,
  create_time   INTEGER NOT NULL,
  delete_time   INTEGER
) STRICT;

CREATE TABLE sign_ins (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  chatter_id  INTEGER NOT NULL,
  create_time INTEGER NOT NULL,
  expire_time INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_ins_chatter ON sign_ins (chatter_id);
CREATE INDEX sign_ins_expire ON sign_ins (expire_time);

CREATE TABLE devices (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  chatter_id  INTEGER NOT NULL,
  -- NULL for the seed's fcm_reg_id, which is bound to the account and not to a sign-in.
  sign_in_id  INTEGER,
  token       TEXT NOT NULL UNIQUE,
  create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX devices_chatter ON devices (chatter_id);
CREATE UNIQUE INDEX devices_account ON devices (chatter_id) WHERE sign_in_id IS NULL;

CREATE TABLE chatrooms (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  owner_id       INTEGER NOT NULL,
  opponent_id    INTEGER NOT NULL,
  -- The two ids in order, so that a pair has one room whoever asked for it.
  pair_low       INTEGER NOT NULL,
  pair_high      INTEGER NOT NULL,
  create_time    INTEGER NOT NULL,
  last_chat_time INTEGER NOT NULL,
  last_seq       INTEGER NOT NULL DEFAULT 0,
  version        INTEGER NOT NULL DEFAULT 0,
  -- Set when one of the two deleted their account: the history stays, nothing new is stored.
  closed_time    INTEGER,
  UNIQUE (pair_low, pair_high)
) STRICT;
CREATE INDEX chatrooms_high ON chatrooms (pair_high);

CREATE TABLE members (
  chatroom_id   INTEGER NOT NULL,
  chatter_id    INTEGER NOT NULL,
  delivered_seq INTEGER NOT NULL DEFAULT 0,
  read_seq      INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (chatroom_id, chatter_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_chatter ON members (chatter_id);

CREATE TABLE chats (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  chatroom_id INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  sender_id   INTEGER NOT NULL,
  content     TEXT NOT NULL,
  -- The content as search compares it; NULL where that is the content itself.
  folded      TEXT,
  client_id   TEXT,
  -- First 16 bytes of SHA-256 over sender and client_id: a smaller index than the text.
  client_key  BLOB,
  -- Hash of room and content as first sent: tells a retry from a second use of the client_id.
  first_hash  INTEGER,
  create_time INTEGER NOT NULL,
  edit_time   INTEGER,
  delete_time INTEGER,
  UNIQUE (chatroom_id, seq)
) STRICT;
CREATE UNIQUE INDEX chats_client_key ON chats (client_key) WHERE client_key IS NOT NULL;
-- A chat that was never changed has a version that grows with its seq; only the others need an index.
CREATE INDEX chats_changed ON chats (chatroom_id, version)
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL;

CREATE TABLE push_outbox (
  chatroom_id INTEGER NOT NULL,
  receiver_id INTEGER NOT NULL,
  -- The newest chat that is waiting for a push.
  to_seq      INTEGER NOT NULL,
  create_time INTEGER NOT NULL,
  -- When the row may be claimed: the grace, a lease or a back-off ends here, by the database's clock.
  due_time    INTEGER NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (chatroom_id, receiver_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_outbox_due ON push_outbox (due_time);
CREATE INDEX push_outbox_receiver ON push_outbox (receiver_id);
