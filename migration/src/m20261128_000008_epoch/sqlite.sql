-- The epoch: one life of this database, in one row. A database that is set back to an earlier state begins a new one.
CREATE TABLE epoch (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  name       TEXT NOT NULL,
  -- Only PostgreSQL uses it.
  place      TEXT,
  -- When it began; 0 for the first epoch, which began with the schema.
  begin_time INTEGER NOT NULL
);
INSERT INTO epoch (id, name, begin_time) VALUES (1, lower(hex(randomblob(8))), 0);
-- The epoch in which the sign-in was opened; NULL where a server of an earlier release opened it.
ALTER TABLE sign_ins ADD COLUMN epoch TEXT;
