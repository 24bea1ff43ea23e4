-- What `/readyz` writes to find out whether the database takes writes. Row 1 stays; the others exist for a moment, to
-- find out whether there is space again.
CREATE TABLE write_probe (
  id     BIGINT PRIMARY KEY,
  time   BIGINT NOT NULL,
  filler TEXT
);
-- Uncompressed, so that it takes the space that it is meant to take.
ALTER TABLE write_probe ALTER COLUMN filler SET STORAGE EXTERNAL;
