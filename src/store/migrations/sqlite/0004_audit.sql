-- Who changed what in the directory, written in the transaction of the change. No secrets; nothing removes rows.

CREATE TABLE directory_change (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms BIGINT NOT NULL,
    who VARCHAR(128) NOT NULL,         -- fleet, operator:<OS user>, account:<id>
    what VARCHAR(32) NOT NULL,         -- as account.added
    subject VARCHAR(64) NOT NULL,      -- as account:7
    before_json BLOB NOT NULL,
    after_json BLOB NOT NULL
);
CREATE INDEX directory_change_time ON directory_change (time_ms, id);
