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
)
