-- Who changed what in the directory, written in the transaction of the change. No secrets; nothing removes rows.

CREATE TABLE IF NOT EXISTS directory_change (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    time_ms BIGINT NOT NULL,
    who VARCHAR(128) NOT NULL,         -- fleet, operator:<OS user>, account:<id>
    what VARCHAR(32) NOT NULL,         -- as account.added
    subject VARCHAR(64) NOT NULL,      -- as account:7
    before_json BLOB NOT NULL,
    after_json BLOB NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS directory_change_time ON directory_change (time_ms, id);
