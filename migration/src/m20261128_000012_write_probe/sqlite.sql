-- What `/readyz` writes to find out whether the database takes writes. Row 1 stays; the others exist for a moment, to
-- find out whether there is space again.
CREATE TABLE write_probe (
  id     INTEGER PRIMARY KEY,
  time   INTEGER NOT NULL,
  filler TEXT
);
