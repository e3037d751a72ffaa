-- Recorded bursts of talk, each announced once.

CREATE TABLE recording (
    id INTEGER NOT NULL PRIMARY KEY,   -- in the order in which they are announced
    source BLOB NOT NULL,              -- what tells it from all others, as whoever recorded it says
    source_hash BLOB NOT NULL UNIQUE,  -- XXH3-128 of source
    entry TEXT NOT NULL,               -- of the stream of talk, that brought it first
    tenant BIGINT NOT NULL,
    grp BIGINT NOT NULL,
    speaker BIGINT NOT NULL,
    file TEXT NOT NULL,
    md5 TEXT NOT NULL,
    spoken_ms BIGINT NOT NULL,         -- when it was over
    duration_ms BIGINT NOT NULL,       -- 0: not said
    host TEXT NOT NULL,
    received_ms BIGINT NOT NULL
);
CREATE INDEX recording_grp ON recording (grp, spoken_ms);
INSERT OR IGNORE INTO counter (name, value) VALUES ('recording', 0);
