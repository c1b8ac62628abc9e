"""``ray-synapse run``: a job from a file, by a plugin."""

import argparse
import json
import os
import signal
import sys
import warnings
from typing import Any, NoReturn

from ray import tune

from ray_synapse import signals
from ray_synapse.action import conclusion
from ray_synapse.action.action import TrainAction
from ray_synapse.action.plan import plan
from ray_synapse.action.plugin import load_plugin
from ray_synapse.config import job_file
from ray_synapse.errors import SynapseError
from ray_synapse.last_lines import last_lines
from ray_synapse.settings import secrets

DONE, FAILED, WRONG_INPUT = 0, 1, 2
SIGNALLED = 128  # and the number of the signal, as shells have it


def run(options: argparse.Namespace) -> int:
    """Run the job, and print its result as JSON. All else that is printed goes to stderr.

    Args:
        options: ``job`` (a file, or ``-``), ``plugin``, ``set``, ``dry_run``, ``address`` and
            ``storage_path``.

    Returns:
        0 when it is done, 1 when the run failed, 2 when the input is wrong; 130 and 143 after
        Ctrl-C and SIGTERM.
    """
    warnings.filterwarnings("default", category=DeprecationWarning, module=__name__)
    signal.signal(signal.SIGTERM, _end)  # until Ray sets its own; by itself it would kill at once
    output = _take_output()
    command = _Command(options)
    try:
        text = command.run()
    except BaseException as error:
        return _exit_code(error, command.action)
    with open(output, "w", encoding="utf-8") as file:
        print(text, file=file)
    status = command.action.status if command.action else None
    return {"FAILED": FAILED, "STOPPED": _stopped()}.get(status or "", DONE)


class _Command:
    """The job of one command line; ``action`` is there once its input could be read."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.action: TrainAction | None = None

    def run(self) -> str:
        """Do it, and give what is to be printed."""
        options = self._options
        try:
            given = job_file.overridden(job_file.load(options.job), options.set)
            plugin = load_plugin(options.plugin)
        except BaseException as error:
            if not options.dry_run:
                conclusion.refuse(error)
            raise
        config = None
        if options.storage_path is not None:
            config = tune.RunConfig(storage_path=options.storage_path, verbose=0)
        places: dict[str, Any] = {"address": options.address, "run_config": config}
        self.action = TrainAction(given, **vars(plugin), **places)
        if options.dry_run:
            return plan(self.action.check(), plugin)
        return json.dumps(self.action.start(), indent=2)


def _take_output() -> int:
    """Have all that this process and those below it print go to stderr, for good.

    Ray prints what its workers do on a thread, until the end.

    Returns:
        The file descriptor of the output.
    """
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return output


def _exit_code(error: BaseException, action: TrainAction | None) -> int:
    """The exit code for what ended the command, which is said."""
    has_begun = action is not None and action.has_begun
    if isinstance(error, KeyboardInterrupt) or signals.was_told_to_end():
        return _stopped()
    if isinstance(error, SystemExit):
        what = "The job" if has_begun else "The plugin"
        _say(f"{what} was ended by sys.exit({error.code!r}): return the path of the model instead.")
    elif isinstance(error, SynapseError):
        _say(str(error))
    else:
        _say(f"the run failed:\n{last_lines(error, secrets())}")
    return FAILED if has_begun or not isinstance(error, SynapseError) else WRONG_INPUT


def _say(text: str) -> None:
    print(f"ray-synapse: {text}", file=sys.stderr)


def _stopped() -> int:
    return SIGNALLED + (signal.SIGTERM if signals.was_told_to_end() else signal.SIGINT)


def _end(number: int, frame: Any) -> NoReturn:
    sys.exit(SIGNALLED + number)
