-- The evidence log. Rows are only ever added. Erasure empties rows of `input` and `disclosure` where they stand: when a
-- row is deleted, SQLite moves its neighbours together, and leaves copies of them behind that no later erasure finds.
CREATE TABLE run (
    run INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    started TEXT NOT NULL,
    UNIQUE (instance, epoch)
) STRICT;
-- `bytes` are exactly what is hashed; `leaf_hash` is SHA-256(0x00 || bytes) (RFC 6962, section 2.1).
CREATE TABLE entry (
    idx INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (run),
    iseq INTEGER NOT NULL,
    id TEXT NOT NULL,
    bytes BLOB NOT NULL,
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
    UNIQUE (run, iseq)
) STRICT;
CREATE INDEX entry_id ON entry (id);
-- What entries are about, for the writer itself to look up before it writes the next: `value` of their `member`.
CREATE TABLE about (
    member TEXT NOT NULL,
    value TEXT NOT NULL,
    kind TEXT NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (member, value, kind, idx)
) STRICT, WITHOUT ROWID;
-- The exact documents that the engine saw, each under the index of its entry; `digest` is its SHA-256. Empty: erased.
-- No index has the digests: they fall anywhere in a tree, so that each entry would write a page more. The query tables
-- have one.
CREATE TABLE input (
    idx INTEGER PRIMARY KEY REFERENCES entry (idx),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    bytes BLOB NOT NULL
) STRICT;
-- What commitments in entries hide: base64 of SHA-256(salt || value) stands at `path` (a JSON pointer) in the entry.
-- Both empty: erased. No index has the values, for the same reason as above.
CREATE TABLE disclosure (
    idx INTEGER NOT NULL REFERENCES entry (idx),
    path TEXT NOT NULL,
    salt BLOB NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE INDEX disclosure_idx ON disclosure (idx);
-- Every checkpoint that was ever signed, here before it is published. `note` has the cosignatures once it is published.
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL,
    signed TEXT NOT NULL,
    published INTEGER NOT NULL
) STRICT;
-- Every key that a checkpoint was signed with, as a note verifier key.
CREATE TABLE key (
    vkey TEXT PRIMARY KEY,
    since TEXT NOT NULL
) STRICT;
-- What the log last told of policies, configuration and key: changes are told against it.
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
