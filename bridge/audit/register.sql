CREATE TABLE seen (idx INTEGER NOT NULL, leaf_hash BLOB NOT NULL);
CREATE TABLE delegation (
    issuer TEXT NOT NULL, client TEXT NOT NULL, subject_type TEXT NOT NULL, subject TEXT NOT NULL, actor TEXT NOT NULL,
    session TEXT NOT NULL, grant_id TEXT NOT NULL, origin TEXT NOT NULL, scopes TEXT NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, granted INTEGER NOT NULL, minted INTEGER NOT NULL,
    live_until INTEGER NOT NULL,
    PRIMARY KEY (issuer, client, subject_type, subject, actor, session, grant_id, origin, scopes)
) WITHOUT ROWID;
CREATE INDEX delegation_subject ON delegation (issuer, subject);
CREATE INDEX delegation_exchanged ON delegation (origin) WHERE origin <> '';
CREATE TABLE chained (name TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (name, origin)) WITHOUT ROWID;
CREATE TABLE hidden (
    idx INTEGER PRIMARY KEY, issuer TEXT NOT NULL, client TEXT NOT NULL, last_ms INTEGER NOT NULL, granted INTEGER NOT NULL,
    minted INTEGER NOT NULL, live_until INTEGER NOT NULL, exchanged INTEGER NOT NULL
);
CREATE INDEX hidden_exchanged ON hidden (idx) WHERE exchanged;
CREATE INDEX hidden_client ON hidden (issuer, client, idx);
CREATE TABLE registered (
    issuer TEXT NOT NULL, client TEXT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (issuer, client)
) WITHOUT ROWID;
CREATE TABLE ended (
    digest TEXT PRIMARY KEY, what TEXT NOT NULL, effect TEXT NOT NULL, time TEXT NOT NULL, idx INTEGER NOT NULL,
    issuer TEXT NOT NULL, client TEXT
) WITHOUT ROWID
