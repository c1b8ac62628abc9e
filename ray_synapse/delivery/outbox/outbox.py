"""The durable queue of a run: filled by any process of the machine, emptied by one."""

from collections import Counter, defaultdict

from ray_synapse.backend.protocol import Counts, Left
from ray_synapse.delivery.outbox.arrivals import Arrivals
from ray_synapse.delivery.outbox.base import WAITING, at_one_moment, seconds
from ray_synapse.delivery.outbox.departures import Departures
from ray_synapse.delivery.outbox.living import Living
from ray_synapse.delivery.outbox.models import ModelRows

KEPT_ASIDE = ("in_doubt", "parked")


class Outbox(Arrivals, Departures, ModelRows, Living):
    """A run's outbox. Every method may be called from any thread, and raises ``StorageError``."""

    def counts(self, *, is_over: bool = False) -> dict[str, Counts]:
        """What became of the records of each process that came here.

        Args:
            is_over: Whether the processes have ended: what they have logged and did not come here
                was lost with them, and is counted as dropped. Else it waits, in them.
        """
        with self._read() as db, at_one_moment(db):
            processes = db.execute("SELECT * FROM processes").fetchall()
            gone = db.execute("SELECT * FROM gone").fetchall()
            here = db.execute(
                "SELECT process, COUNT(*) AS number, "
                "CASE WHEN state = 'sending' THEN 'waiting' ELSE state END AS word FROM "
                "(SELECT process, state FROM entries UNION ALL "
                "SELECT process, state FROM snapshots WHERE state != 'delivered') "
                "GROUP BY process, word"
            ).fetchall()
        words: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in processes:
            words[row["process"]].update({key: row[key] for key in ("dropped", "replaced")})
        for row in (*gone, *here):
            words[row["process"]][row["word"]] += row["number"]
        for row in processes:
            known = words[row["process"]]
            known["dropped" if is_over else "waiting"] += row["logged"] - known.total()
            known["logged"] = row["logged"]
        return {process: Counts(**numbers) for process, numbers in words.items()}

    def dropped_here(self) -> int:
        """How many records were dropped since too much waited."""
        query = "SELECT COALESCE(SUM(number), 0) FROM gone WHERE word = 'dropped'"
        with self._read() as db:
            return int(db.execute(query).fetchone()[0])

    def progress(self) -> tuple[int, ...]:
        """Numbers that change whenever something was delivered, or bytes of a model moved."""
        with self._read() as db:
            query = "SELECT COALESCE(SUM(number), 0) FROM gone WHERE word = 'delivered'"
            records = db.execute(query).fetchone()[0]
            models = db.execute(
                "SELECT COALESCE(SUM(sent), 0), COALESCE(SUM(uploaded), 0), "
                "SUM(state != 'waiting') FROM models"
            ).fetchone()
        return (records, *(number or 0 for number in models))

    def left(self) -> Left:
        """What is not delivered, or never will be, beside the counts of the records."""
        about = self.about()
        with self._read() as db:
            models = db.execute("SELECT state, COUNT(*) FROM models GROUP BY state").fetchall()
            reasons = db.execute(
                "SELECT reason, COUNT(*) FROM (SELECT reason, state FROM entries UNION ALL "
                "SELECT reason, state FROM snapshots UNION ALL SELECT reason, state FROM models) "
                "WHERE reason IS NOT NULL GROUP BY reason"
            ).fetchall()
            oldest = db.execute(
                "SELECT MIN(time) FROM (SELECT time, state FROM entries UNION ALL "
                "SELECT time, state FROM snapshots UNION ALL SELECT time, state FROM models) "
                "WHERE state IN (?, ?)",
                WAITING,
            ).fetchone()[0]
        return Left(
            {row[0]: row[1] for row in models},
            {row[0]: row[1] for row in reasons},
            about.get("last_error"),
            None if oldest is None else max(seconds() - oldest, 0.0),
        )
