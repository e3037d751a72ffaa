-- App releases, files, and which node an account uses.

-- One row a release; its bytes are the object releases/<sha256>, which never changes.
CREATE TABLE app_release (
    id BIGINT NOT NULL PRIMARY KEY,
    package VARCHAR(255) NOT NULL,
    version_code BIGINT NOT NULL,
    version_name VARCHAR(255) NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,       -- hexadecimal, as are the next two
    signature VARCHAR(128) NOT NULL,   -- Ed25519 by the release key
    certificate VARCHAR(64) NOT NULL,  -- SHA-256 of the certificate the APK is signed with
    percent BIGINT NOT NULL,           -- of the installations, 0 to 100
    halted BIGINT NOT NULL,            -- 0 or 1
    created_ms BIGINT NOT NULL,
    UNIQUE (package, version_code)
) WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('app_release', 0);

-- One row an upload. Content is shared: file.sha256 names it.
CREATE TABLE file (
    id VARCHAR(32) NOT NULL PRIMARY KEY,   -- random, hexadecimal
    tenant BIGINT NOT NULL,
    uploader BIGINT NOT NULL,
    purpose BIGINT NOT NULL,           -- 1 attachment, 2 log
    topic VARCHAR(24) NOT NULL,        -- of an attachment; empty for a log
    name VARCHAR(255) NOT NULL,        -- a label, never a path
    media_type VARCHAR(128) NOT NULL,  -- by content
    bytes BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX file_sha256 ON file (sha256);
CREATE INDEX file_expires ON file (expires_ms);
CREATE INDEX file_tenant ON file (tenant, created_ms);
CREATE INDEX file_uploader ON file (uploader, purpose, created_ms);

-- One row a content. Its object has a key of its own, so that a content which goes and comes back is another object.
CREATE TABLE content (
    sha256 VARCHAR(64) NOT NULL PRIMARY KEY,
    object VARCHAR(128) NOT NULL,
    bytes BIGINT NOT NULL
) WITHOUT ROWID;

-- Objects that no content has: those of uploads under way, and those to be removed. The sweep removes them from due_ms on.
CREATE TABLE stray_object (
    object VARCHAR(128) NOT NULL PRIMARY KEY,
    due_ms BIGINT NOT NULL
) WITHOUT ROWID;

-- Bytes in files of a tenant. The row is locked by each upload, so that two do not both fit into what is left.
CREATE TABLE file_use (
    tenant BIGINT NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL
) WITHOUT ROWID;

-- The node an account uses; without a row it is the default node.
CREATE TABLE account_node (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id),
    node VARCHAR(64) NOT NULL
) WITHOUT ROWID;
