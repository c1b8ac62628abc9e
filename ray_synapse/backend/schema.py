"""The embedded database, as numbered steps. A step that was released is never changed."""

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is not used again after `rm`
        name TEXT NOT NULL,                    -- encoded
        status TEXT NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        metric TEXT,
        mode TEXT,
        search_space TEXT,
        host TEXT,                             -- where the process runs that drives the job
        pid INTEGER,
        progress_record TEXT,
        result TEXT,
        best_trial TEXT
    );
    CREATE TABLE snapshots (
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        event TEXT NOT NULL,
        time TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (job, event)
    ) WITHOUT ROWID;
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        event TEXT NOT NULL,
        time TEXT NOT NULL,
        data TEXT NOT NULL,
        step TEXT,
        level TEXT,
        process TEXT NOT NULL,
        seq INTEGER NOT NULL,
        file TEXT
    );
    CREATE INDEX logs_by_event ON logs (job, event, id);
    CREATE TABLE processes (                   -- one row for each process that logs to a job
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        process TEXT NOT NULL,
        seq INTEGER NOT NULL,                  -- every record up to this one is kept
        delivered INTEGER NOT NULL,
        logged INTEGER NOT NULL,               -- this and the next two as the process says
        dropped INTEGER NOT NULL,
        replaced INTEGER NOT NULL,
        PRIMARY KEY (job, process)
    ) WITHOUT ROWID;
    CREATE TABLE models (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        name TEXT NOT NULL UNIQUE,
        created TEXT NOT NULL,
        file TEXT NOT NULL,                    -- below the folder of the database
        size INTEGER NOT NULL,                 -- bytes
        configuration TEXT NOT NULL
    );
    CREATE INDEX models_by_job ON models (job);
    """,
    """
    ALTER TABLE jobs ADD COLUMN metrics_record TEXT;
    ALTER TABLE jobs ADD COLUMN console_logs TEXT;
    ALTER TABLE jobs ADD COLUMN meta TEXT;
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,                   -- random, also the name of its file
        filename TEXT NOT NULL,                -- as the client says, only to be shown
        total INTEGER NOT NULL,                -- bytes, as the next one
        offset INTEGER NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        checksum TEXT,                         -- MD5, once it has ended
        completed_at TEXT
    ) WITHOUT ROWID;
    CREATE TABLE all_models (                  -- SQLite cannot drop a NOT NULL in place
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER REFERENCES jobs (id) ON DELETE CASCADE,  -- none if it came over HTTP
        name TEXT NOT NULL UNIQUE,
        created TEXT NOT NULL,
        file TEXT,                             -- below the folder of the database
        size INTEGER NOT NULL,                 -- bytes
        configuration TEXT NOT NULL,
        upload TEXT UNIQUE REFERENCES uploads (id),
        plugin TEXT,
        version TEXT,
        checkpoint INTEGER REFERENCES all_models (id) ON DELETE SET NULL,
        description TEXT
    );
    INSERT INTO all_models (id, job, name, created, file, size, configuration)
        SELECT id, job, name, created, file, size, configuration FROM models;
    DELETE FROM sqlite_sequence WHERE name = 'all_models';
    INSERT INTO sqlite_sequence (name, seq)
        SELECT 'all_models', seq FROM sqlite_sequence WHERE name = 'models';
    DROP TABLE models;
    ALTER TABLE all_models RENAME TO models;
    CREATE INDEX models_by_job ON models (job);
    CREATE INDEX models_by_checkpoint ON models (checkpoint);
    CREATE TABLE answers (                     -- to writes that came with an Idempotency-Key
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        request TEXT NOT NULL,                 -- a hash
        answer TEXT NOT NULL,
        created INTEGER NOT NULL               -- seconds since 1970
    );
    CREATE INDEX answers_by_age ON answers (created);
    CREATE TABLE datasets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        folder TEXT NOT NULL,
        created TEXT NOT NULL
    );
    CREATE TABLE dataset_events (
        id INTEGER PRIMARY KEY,
        dataset INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
        category TEXT NOT NULL,
        name TEXT NOT NULL,                    -- its path below the folder of the category
        files TEXT NOT NULL,                   -- JSON, name to path below the folder
        data TEXT NOT NULL                     -- JSON, the annotation
    );
    CREATE INDEX events_by_category ON dataset_events (dataset, category, id);
    """,
    """
    ALTER TABLE jobs ADD COLUMN beat TEXT;       -- the last sign of life of the process with `pid`
    ALTER TABLE jobs ADD COLUMN experiment TEXT;  -- the path of Tune's experiment
    CREATE INDEX jobs_by_experiment ON jobs (experiment) WHERE experiment IS NOT NULL;
    """,
)
