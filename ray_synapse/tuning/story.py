"""What happened to the trials of a sweep, as messages of its run. Knows no Ray and no thread."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ray_synapse.formats import cell
from ray_synapse.values import flatten, to_wire

MAX_NAMED = 200  # trials in one message: the API cuts a message at 20,000 characters
MAX_CUT_OFF = 600  # likewise, in the one message that names them all


class Message(NamedTuple):
    """What is to be logged."""

    content: str
    level: str


class CutOff(NamedTuple):
    """A trial that had not ended when its sweep did.

    Attributes:
        trial_id: Its id.
        was_started: Whether it ever ran.
        iteration: The one of its last result, or None.
    """

    trial_id: str
    was_started: bool
    iteration: int | None


class Story:
    """Gathers what happened, so that a thousand trials that end alike make one message."""

    def __init__(self) -> None:
        self.told_failed: set[str] = set()  # of these a message says that they failed, and why
        self._failed: dict[str, list[str]] = defaultdict(list)
        self._retried: dict[str, list[str]] = defaultdict(list)
        self._stopped: dict[str, list[str]] = defaultdict(list)
        self._others: list[Message] = []

    def say(self, content: str, level: str = "info") -> None:
        """A message of its own."""
        self._others.append(Message(content, level))

    def failed(self, trial_id: str, failures: int, error: str) -> None:
        """A trial has failed for good; ``failures`` is how often in all."""
        self.told_failed.add(trial_id)
        self._failed[f"failed{_again(failures)}: {error}"].append(trial_id)

    def retried(self, trial_id: str, failures: int, allowed: int, error: str) -> None:
        """A trial has failed and is started again.

        Args:
            trial_id: Its id.
            failures: How often it has failed so far.
            allowed: Tune's ``max_failures``; negative for any number.
            error: Why.
        """
        most = "" if allowed < 0 else f" (max_failures is {allowed})"
        reason = f"failed{_again(failures)} and is started again{most}: {error}"
        self._retried[reason].append(trial_id)

    def stopped(self, trial_id: str, scheduler: str, iteration: int | None) -> None:
        """A scheduler has stopped a trial before its end."""
        self._stopped[scheduler].append(f"{trial_id} at iteration {iteration}")

    def changed(
        self,
        trial_id: str,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        donor: str | None,
        iteration: int | None,
    ) -> None:
        """A trial goes on with another config.

        Args:
            trial_id: Its id.
            old: The config that it ran so far.
            new: The one that it runs now.
            donor: The trial whose checkpoint it goes on from; None for its own.
            iteration: The iteration of that checkpoint, if it is known.
        """
        before, after = flatten(old), flatten(new)
        names = list(dict.fromkeys([*before, *after]))
        values = [(name, to_wire(before.get(name)), to_wire(after.get(name))) for name in names]
        changes = [f"{name} {cell(a)} -> {cell(b)}" for name, a, b in values if a != b]
        if not changes and donor is None:
            return
        where = "" if iteration is None else f" at iteration {iteration}"
        source = "goes on" if donor is None else f"goes on from trial {donor}{where}"
        self.say(f"Trial {trial_id} {source} with {', '.join(changes) or 'the same config'}")

    def cut_off(self, why: str, trials: Sequence[CutOff]) -> None:
        """The sweep is over, and these trials had not ended."""
        ran = [
            f"{each.trial_id} before its first result"
            if each.iteration is None
            else f"{each.trial_id} at iteration {each.iteration}"
            for each in trials
            if each.was_started
        ]
        waited = [each.trial_id for each in trials if not each.was_started]
        parts = []
        if ran:
            parts.append(f"cut off: {_named(ran, MAX_CUT_OFF)}")
        if waited:
            parts.append(f"never started: {_named(waited, MAX_CUT_OFF)}")
        if parts:
            self.say(f"{why}: {number_of(len(trials))} not done; {'; '.join(parts)}", "warning")

    def take(self) -> list[Message]:
        """What is to be logged now."""
        messages = list(self._grouped())
        messages += self._others
        self._others = []
        for gathered in (self._failed, self._retried, self._stopped):
            gathered.clear()
        return messages

    def _grouped(self) -> Iterator[Message]:
        for scheduler, trials in self._stopped.items():
            for some in _portions(trials):
                number = "trial" if len(some) == 1 else f"{len(some)} trials early:"
                yield Message(f"{scheduler} stopped {number} {', '.join(some)}", "info")
        for reason, trials in self._retried.items():
            for some in _portions(trials):
                yield Message(f"{_subject(some)} {reason}", "warning")
        for reason, trials in self._failed.items():
            for some in _portions(trials):
                yield Message(f"{_subject(some)} {reason}", "error")


def number_of(trials: int) -> str:
    """So many trials, as the beginning of a sentence in the past."""
    return "1 trial was" if trials == 1 else f"{trials:,} trials were"


def _subject(trials: Sequence[str]) -> str:
    if len(trials) == 1:
        return f"Trial {trials[0]}"
    return f"{len(trials)} trials ({', '.join(trials)})"


def _again(failures: int) -> str:
    return f" {failures} times" if failures > 1 else ""


def _portions(trials: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(trials), MAX_NAMED):
        yield trials[start : start + MAX_NAMED]


def _named(trials: Sequence[str], limit: int) -> str:
    more = f" and {len(trials) - limit:,} more" if len(trials) > limit else ""
    return ", ".join(trials[:limit]) + more
