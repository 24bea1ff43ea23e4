-- One row: the migration that a program has to know to work on this schema. Programs that know it but not what came later
-- go on working. A migration that they cannot work with puts its own name here, and from then on they refuse to start.
CREATE TABLE schema_needs (
  one       BIGINT PRIMARY KEY CHECK (one = 1),
  migration TEXT NOT NULL
);
INSERT INTO schema_needs (one, migration) VALUES (1, 'm20261122_000001_foundation');
