"""An outbox's database, as numbered steps. A step that was released is never changed."""

MIGRATIONS = (
    """
    CREATE TABLE about (                       -- the run, and how its delivery goes
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL                    -- JSON
    ) WITHOUT ROWID;
    CREATE TABLE processes (                   -- one row for each process that logs to the run
        process TEXT PRIMARY KEY,              -- "" for what is not numbered by its process
        seq INTEGER NOT NULL,                  -- every record up to this one came here
        logged INTEGER NOT NULL,               -- this and the next two as the process says
        dropped INTEGER NOT NULL,
        replaced INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE gone (                        -- how many records have left, and how
        process TEXT NOT NULL,
        word TEXT NOT NULL,                    -- delivered, dropped or replaced
        number INTEGER NOT NULL,
        PRIMARY KEY (process, word)
    ) WITHOUT ROWID;
    CREATE TABLE entries (                     -- of the log
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        process TEXT NOT NULL,
        event TEXT NOT NULL,
        body TEXT NOT NULL,                    -- JSON, as it goes over the wire
        size INTEGER NOT NULL,                 -- bytes of it
        state TEXT NOT NULL,                   -- waiting, sending, in_doubt or parked
        letter TEXT,                           -- the request it was last sent with
        reason TEXT,                           -- why it is in doubt or parked
        time REAL NOT NULL                     -- seconds since 1970, as below
    );
    CREATE INDEX entries_by_state ON entries (state, id);
    CREATE INDEX entries_by_letter ON entries (letter) WHERE letter IS NOT NULL;
    CREATE INDEX entries_by_event ON entries (event, id);
    CREATE TABLE snapshots (                   -- of each kind only the newest matters
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        process TEXT NOT NULL,
        data TEXT NOT NULL,                    -- JSON
        state TEXT NOT NULL,                   -- waiting, sending, parked, or delivered
        reason TEXT,
        time REAL NOT NULL
    );
    CREATE INDEX snapshots_by_kind ON snapshots (kind, id);
    CREATE TABLE models (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,                    -- the one that is wanted, <run name>_<trial id>
        identity TEXT NOT NULL,                -- JSON: which files these are
        configuration TEXT NOT NULL,           -- JSON
        parent TEXT,                           -- JSON: the id of the model it was trained from
        uri TEXT,                              -- where its files are, for another process
        state TEXT NOT NULL,                   -- waiting, parked or delivered
        reason TEXT,
        size INTEGER NOT NULL,                 -- bytes of the archive, about
        sent INTEGER NOT NULL DEFAULT 0,       -- bytes of it
        upload TEXT,                           -- the server's id of the upload
        uploaded INTEGER NOT NULL DEFAULT 0,   -- whether that one has ended
        model TEXT,                            -- JSON: the server's id of the model
        places TEXT NOT NULL DEFAULT '[]',     -- JSON: paths in the job's result for that id
        time REAL NOT NULL,
        UNIQUE (name, identity)
    );
    CREATE INDEX models_by_state ON models (state, id);
    CREATE INDEX models_to_place ON models (id) WHERE model IS NOT NULL AND places != '[]';
    CREATE TABLE notes (                       -- what a person should read, each once
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL UNIQUE,
        is_said INTEGER NOT NULL
    );
    """,
    # An entry is written once and removed once: what is on its way is noted by letter alone. The
    # column `letter` and the state `sending` of entries are not used any more.
    """
    CREATE TABLE letters (                     -- on their way: the waiting entries in a range
        key TEXT PRIMARY KEY,
        first INTEGER NOT NULL,                -- ids of entries
        last INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO letters
        SELECT letter, MIN(id), MAX(id) FROM entries WHERE state = 'sending' GROUP BY letter;
    UPDATE entries SET state = 'waiting', letter = NULL WHERE state = 'sending';
    DROP INDEX entries_by_letter;
    DROP INDEX entries_by_event;
    CREATE INDEX entries_images ON entries (id) WHERE event = 'visualization';
    """,
)
