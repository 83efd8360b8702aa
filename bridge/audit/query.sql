CREATE TABLE IF NOT EXISTS seen (idx INTEGER NOT NULL, leaf_hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS decision (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, client TEXT, subject TEXT, outcome TEXT,
    input_digest BLOB
);
CREATE INDEX IF NOT EXISTS decision_client ON decision (client, idx);
CREATE INDEX IF NOT EXISTS decision_subject ON decision (subject, idx);
CREATE INDEX IF NOT EXISTS decision_time ON decision (time_ms);
CREATE INDEX IF NOT EXISTS decision_input ON decision (input_digest) WHERE input_digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS about (decision_id TEXT NOT NULL, kind TEXT NOT NULL, idx INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS about_decision ON about (decision_id);
CREATE TABLE IF NOT EXISTS decision_tuple (subject TEXT NOT NULL, idx INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS decision_tuple_subject ON decision_tuple (subject, idx);
CREATE TABLE IF NOT EXISTS decision_scope (scope TEXT, client TEXT, time_ms INTEGER, outcome TEXT, idx INTEGER);
CREATE INDEX IF NOT EXISTS decision_scope_key ON decision_scope (scope, client, idx, outcome);
CREATE INDEX IF NOT EXISTS decision_scope_idx ON decision_scope (scope, idx, outcome);
CREATE INDEX IF NOT EXISTS decision_scope_outcome ON decision_scope (scope, outcome, idx);
CREATE TABLE IF NOT EXISTS decision_rule (code TEXT, package TEXT, owner TEXT, effect TEXT, idx INTEGER);
CREATE INDEX IF NOT EXISTS decision_rule_key ON decision_rule (code, idx);
CREATE INDEX IF NOT EXISTS decision_rule_package ON decision_rule (package, code, idx);
CREATE INDEX IF NOT EXISTS decision_rule_idx ON decision_rule (idx);
CREATE INDEX IF NOT EXISTS decision_rule_owner ON decision_rule (owner, idx);
CREATE TABLE IF NOT EXISTS decision_exception (path TEXT, exception_id TEXT, idx INTEGER);
CREATE INDEX IF NOT EXISTS decision_exception_idx ON decision_exception (idx);
CREATE INDEX IF NOT EXISTS decision_exception_path ON decision_exception (path, idx);
CREATE INDEX IF NOT EXISTS decision_exception_id ON decision_exception (exception_id, idx)
