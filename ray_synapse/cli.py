"""The command ``ray-synapse``: run jobs, look at the runs of the embedded backend, serve them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_synapse import __version__, leftovers, settings, views, vitals
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.delivery.outbox.base import FOLDER
from ray_synapse.errors import LibraryError, SynapseError
from ray_synapse.names import display_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Its arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 for what cannot be done, 2 for wrong arguments or a wrong job.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is _remove and not (options.job or options.model):
        parser.error("rm: give a JOB, or --model ID")
    backend = LocalBackend(settings.home())
    try:
        return int(options.run(backend, options))
    except SynapseError as error:
        print(f"ray-synapse: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `ray-synapse show 3 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # the output's disk is full
        print(f"ray-synapse: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _list(backend: LocalBackend, options: argparse.Namespace) -> int:
    jobs, (count, size) = backend.jobs(), backend.models_without_job()
    if (backend.home / FOLDER).is_dir():
        print("runs on a server are listed there; `ray-synapse doctor` shows what it has not got")
    if not jobs and not count:
        print(f"no runs yet in {backend.home}; ray_synapse.init(name) makes one")
        return 0
    views.render_jobs(jobs)
    if count:
        print(
            f"and {size / 1e6:.1f} MB of models ({count}) that came over HTTP, without a job: "
            "GET /models/ lists them, `ray-synapse rm --model ID` removes one"
        )
    return 0


def _show(backend: LocalBackend, options: argparse.Namespace) -> int:
    if options.json:
        json.dump(views.describe_job(backend, options.job), sys.stdout, indent=2)
        print()
    else:
        views.render_job(backend, options.job)
    return 0


def _remove(backend: LocalBackend, options: argparse.Namespace) -> int:
    for number in options.job:
        job = backend.job(number)
        is_driven = job["status"] == "RUNNING" and (job["pid"] or job["beat"])
        if is_driven and not vitals.is_interrupted(job):
            who = f" (process {job['pid']} on {job['host']})" if job["pid"] else ""
            print(
                f"ray-synapse: job {number} is still running{who}; stop it first", file=sys.stderr
            )
            return 1
        freed = backend.delete_job(number)
        print(f"removed job {number} ({display_name(job['name'])}), {freed / 1e6:.1f} MB of models")
    for number in options.model:
        freed = backend.delete_model(number)
        print(f"removed model {number}, {freed / 1e6:.1f} MB")
    return 0


def _doctor(backend: LocalBackend, options: argparse.Namespace) -> int:
    return leftovers.doctor(backend.home)


def _sync(backend: LocalBackend, options: argparse.Namespace) -> int:
    return leftovers.sync(backend.home, options.job)


def _serve(backend: LocalBackend, options: argparse.Namespace) -> int:
    try:
        from ray_synapse.server.serve import serve
    except ModuleNotFoundError as error:
        raise LibraryError(
            f"serve needs the extra `ui`, and {error.name} is not installed. Install it: "
            "pip install --upgrade starlette uvicorn python-multipart"
        ) from error
    serve(backend.home, options.host, options.port, options.token)
    return 0


def _run(backend: LocalBackend, options: argparse.Namespace) -> int:
    from ray_synapse.action.command import run  # late: only this command needs Ray

    return run(options)


def _add_dataset(backend: LocalBackend, options: argparse.Namespace) -> int:
    dataset, counts = EmbeddedApi(backend.home).add_dataset(options.folder)
    items = ", ".join(f"{counts[each]} {each}" for each in ("train", "validation", "test"))
    print(f"dataset {dataset}: {items} (its files stay in {options.folder.absolute()})")
    return 0


def _list_datasets(backend: LocalBackend, options: argparse.Namespace) -> int:
    for each in EmbeddedApi(backend.home).datasets():
        print(f"dataset {each['id']}: {each['items']} items in {each['folder']}")
    return 0


def _remove_dataset(backend: LocalBackend, options: argparse.Namespace) -> int:
    EmbeddedApi(backend.home).delete_dataset(options.dataset)
    print(f"forgot dataset {options.dataset}; its files stay")
    return 0


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ray-synapse",
        description="Run the platform's jobs, and look at the runs that ray_synapse keeps on this "
        "machine, remove them, and serve them to others. They lie in ~/.ray_synapse, or where "
        "RAY_SYNAPSE_HOME says.",
    )
    parser.add_argument("--version", action="version", version=f"ray-synapse {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="run a job from its JSON: a training, or a sweep")
    command.add_argument("job", metavar="JOB.json", help="the file; - reads standard input")
    command.add_argument(
        "--plugin",
        required=True,
        metavar="MODULE",
        help="with train, tune or both, and load_dataset if you like: my_package.plugin",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="another value for one of its params: tune_config.num_samples=4; may be repeated",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="check everything, and print what would run"
    )
    command.add_argument("--address", help="of the Ray cluster, as ray.init takes it")
    command.add_argument(
        "--storage-path",
        metavar="PATH",
        help="where Tune keeps a sweep: on several machines a folder or a URI that all can reach",
    )
    command.set_defaults(run=_run)
    command = commands.add_parser("ls", help="list all runs, the newest first")
    command.set_defaults(run=_list)
    command = commands.add_parser("show", help="show a run: trials, progress, messages, models")
    command.add_argument("job", type=int, metavar="JOB", help="the id that `ls` shows")
    command.add_argument("--json", action="store_true", help="everything, for a program")
    command.set_defaults(run=_show)
    command = commands.add_parser("rm", help="remove runs with all their records and models")
    command.add_argument("job", type=int, nargs="*", metavar="JOB", help="the id that `ls` shows")
    command.add_argument(
        "--model",
        type=int,
        action="append",
        default=[],
        metavar="ID",
        help="a single model, such as one that came over HTTP; may be repeated",
    )
    command.set_defaults(run=_remove)
    command = commands.add_parser(
        "doctor", help="what runs have not delivered to a server, and why"
    )
    command.set_defaults(run=_doctor)
    command = commands.add_parser("sync", help="send what is not delivered to a server")
    command.add_argument(
        "job", nargs="?", metavar="JOB", help="only that of this job of the server"
    )
    command.set_defaults(run=_sync)
    command = commands.add_parser("serve", help="serve them over HTTP, as Synapse would")
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; only 127.0.0.1 (the default) needs no token",
    )
    command.add_argument(
        "--port", type=_port, metavar="N", help="8470, or a free one if that is taken"
    )
    command.add_argument("--token", help="what clients must send; made and printed if it must be")
    command.set_defaults(run=_serve)
    command = commands.add_parser("dataset", help="a small dataset in a folder, to be served")
    actions = command.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = actions.add_parser("add", help="make the files of a folder known as a dataset")
    command.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="with the files in train, validation and test",
    )
    command.set_defaults(run=_add_dataset)
    command = actions.add_parser("ls", help="list the datasets, the newest first")
    command.set_defaults(run=_list_datasets)
    command = actions.add_parser("rm", help="forget a dataset; its files stay")
    command.add_argument("dataset", type=int, metavar="DATASET", help="the id that `ls` shows")
    command.set_defaults(run=_remove_dataset)
    return parser
