-- A database as Atelier 0.1.0 (783bbea) left it, with rows in every table: what an update finds.
BEGIN TRANSACTION;
CREATE TABLE address_cursors (proxy_mode TEXT PRIMARY KEY, last TEXT NOT NULL) STRICT;
INSERT INTO "address_cursors" VALUES('none','10.9.0.18');
CREATE TABLE aliases (
            subdomain TEXT PRIMARY KEY,
            workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
            port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
            user TEXT,
            password_hash TEXT,
            created_at TEXT NOT NULL,
            CHECK ((user IS NULL) = (password_hash IS NULL))
        ) STRICT
        ;
INSERT INTO "aliases" VALUES('demo','000000000002',3000,NULL,NULL,'2026-02-14T10:50:00.000Z');
CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            source_id TEXT NOT NULL,
            count INTEGER NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT
        ;
INSERT INTO "batches" VALUES('bbbbbbbbbbbb','000000000001',2,'2026-02-14T10:30:00.000Z');
CREATE TABLE claims (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            workspace_id TEXT NOT NULL,
            seat_name TEXT NOT NULL,
            name TEXT NOT NULL,
            email TEXT NOT NULL COLLATE NOCASE,
            claimed_at TEXT NOT NULL,
            released_at TEXT,
            password_due INTEGER NOT NULL
        ) STRICT
        ;
INSERT INTO "claims" VALUES(1,'000000000002','Base 1','Ann','ann@example.org','2026-02-14T10:40:00.000Z',NULL,0);
CREATE TABLE extensions (
            workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
            until TEXT NOT NULL
        ) STRICT
        ;
INSERT INTO "extensions" VALUES('000000000001','2026-02-14T18:00:00.000Z');
CREATE TABLE git_revocations (workspace_id TEXT PRIMARY KEY, repository TEXT NOT NULL) STRICT;
INSERT INTO "git_revocations" VALUES('000000000009','base');
CREATE TABLE job_events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            job_id TEXT NOT NULL,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            data TEXT NOT NULL
        ) STRICT
        ;
INSERT INTO "job_events" VALUES(1,'job-1','2026-02-14T10:30:09.000Z','end','{"state": "successful"}');
CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            operation TEXT NOT NULL,
            state TEXT NOT NULL,
            project_ids TEXT NOT NULL,
            variables TEXT NOT NULL,
            created_at TEXT NOT NULL,
            started_at TEXT,
            finished_at TEXT,
            done INTEGER NOT NULL,
            total INTEGER NOT NULL,
            seats TEXT NOT NULL,
            error TEXT,
            caller TEXT NOT NULL
        ) STRICT
        ;
INSERT INTO "jobs" VALUES('job-1','clone','successful','["000000000002"]','{}','2026-02-14T10:30:00.000Z','2026-02-14T10:30:01.000Z','2026-02-14T10:30:09.000Z',1,1,'[]',NULL,'loopback');
CREATE TABLE workspaces (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE CHECK (length(id) = 12),
            name TEXT NOT NULL UNIQUE,
            template TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('creating', 'running', 'stopped', 'error')),
            address TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL,
            last_activity TEXT NOT NULL,
            group_name TEXT,
            memory TEXT NOT NULL,
            cpus TEXT NOT NULL,
            proxy_mode TEXT NOT NULL,
            notes TEXT NOT NULL,
            password_hash TEXT,
            cloned_from TEXT,
            git_url TEXT,
            owner TEXT NOT NULL,
            batch TEXT,
            error TEXT
        , repository TEXT, branch TEXT, git_pending TEXT, git_problem TEXT) STRICT
        ;
INSERT INTO "workspaces" VALUES(1,'000000000001','Base','empty','running','10.9.0.16','2026-02-14T10:00:00.000Z','2026-02-14T11:00:00.000Z',NULL,'2g','2','none','exercise 1','$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g',NULL,'https://example.org/a.git','default',NULL,NULL,'base','main',NULL,NULL);
INSERT INTO "workspaces" VALUES(2,'000000000002','Base 1','empty','stopped','10.9.0.17','2026-02-14T10:00:00.000Z','2026-02-14T11:00:00.000Z','spring','2g','2','none','','$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g','000000000001',NULL,'default',NULL,NULL,'base','clone/base-1',NULL,NULL);
INSERT INTO "workspaces" VALUES(3,'000000000003','Base 2','empty','creating','10.9.0.18','2026-02-14T10:00:00.000Z','2026-02-14T11:00:00.000Z','spring','2g','2','none','',NULL,'000000000001',NULL,'default','bbbbbbbbbbbb',NULL,NULL,NULL,NULL,NULL);
CREATE INDEX jobs_by_age ON jobs (created_at);
CREATE INDEX job_events_by_job ON job_events (job_id, sequence);
CREATE UNIQUE INDEX open_claims_by_seat ON claims (workspace_id) WHERE released_at IS NULL;
CREATE UNIQUE INDEX open_claims_by_email ON claims (email) WHERE released_at IS NULL;
CREATE TRIGGER claims_of_removed_seats AFTER DELETE ON workspaces BEGIN
            UPDATE claims SET released_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), password_due = 0
            WHERE workspace_id = OLD.id AND released_at IS NULL;
        END;
CREATE INDEX aliases_by_workspace ON aliases (workspace_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('workspaces',3);
INSERT INTO "sqlite_sequence" VALUES('job_events',1);
INSERT INTO "sqlite_sequence" VALUES('claims',1);
COMMIT;
PRAGMA user_version = 5;
