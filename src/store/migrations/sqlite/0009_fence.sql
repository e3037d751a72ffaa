-- What fixes ask of geofences is asked by device, and of few of them: a device has rows of the geofences it is inside of, and one of its own.
-- Nothing was ever in the table.
DROP TABLE fence_state;
CREATE TABLE fence_state (
    device BIGINT NOT NULL,
    fence BIGINT NOT NULL,             -- 0: the device itself
    fix_ms BIGINT NOT NULL,            -- of the fix that showed it inside first; of the device itself, of the newest fix looked at
    stayed BIGINT NOT NULL,            -- 0 or 1: that it stays was told
    PRIMARY KEY (device, fence)
) WITHOUT ROWID;

ALTER TABLE fence ADD COLUMN corners BIGINT NOT NULL DEFAULT 0; -- 0: a circle
CREATE INDEX fence_live ON fence (deleted_ms, account);
-- Rises with every change of a geofence, so that who remembers them knows whether they are still so.
INSERT OR IGNORE INTO counter (name, value) VALUES ('fence_change', 0);
