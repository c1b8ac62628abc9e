"""Who may import whom, and who alone may touch what."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ray_synapse

BASE = (
    *("errors", "names", "settings", "values", "metrics", "table", "progress", "payloads"),
    *("images", "console", "formats", "signals", "places", "artifact", "archive", "model_cache"),
    *("vitals", "heartbeat", "last_lines", "trained"),
)

# Each part, and the parts that it may import beside itself. Top down.
ALLOWED: dict[str, tuple[str, ...]] = {
    "cli": (
        *("action", "start", "registry", "run", "tuning", "trial", "results", "views"),
        *("delivery", "backend", "server", "leftovers", *BASE),
    ),
    "action": (
        *("tuning", "trial", "results", "start", "registry", "run", "connect", "config"),
        *("delivery", "backend", *BASE),
    ),
    "server": ("backend", *BASE),
    "views": ("start", "run", "delivery", "backend", *BASE),
    "tuning": ("config", "succession", "start", "registry", "run", "delivery", "backend", *BASE),
    "trial": ("registry", "run", "delivery", "backend", *BASE),
    "results": (
        *("succession", "registry", "run", "run_core", "run_spec", "delivery", "backend", *BASE),
    ),
    "succession": ("start", "registry", "run", "run_spec", "delivery", "backend", *BASE),
    "start": ("registry", "run", "run_spec", "connect", "ending", "delivery", "backend", *BASE),
    "ending": ("run", "delivery", "backend", *BASE),
    "leftovers": ("connect", "greeting", "delivery", "backend", *BASE),
    "connect": ("greeting", "delivery", "backend", *BASE),
    "greeting": ("delivery", "backend", *BASE),
    "registry": ("run", "run_spec", "delivery", "backend", *BASE),
    "run": ("run_core", "run_spec", "delivery", "backend", *BASE),
    "run_core": ("run_spec", "delivery", "backend", *BASE),
    "run_spec": ("delivery", "backend", *BASE),
    "delivery": ("backend", *BASE),
    "backend": BASE,
    "config": BASE,
    **dict.fromkeys(BASE, BASE),
    "": (),  # ray_synapse/__init__.py loads at first use
}
ALLOWED["__main__"] = ("cli",)
for part in ("cli", "backend"):
    ALLOWED[part] += ("",)  # for __version__

# Upwards, within a function: each closes a circle that only exists at run time.
LATE = {
    ("run", "start"),  # leaving a run is start's
    ("run", "registry"),  # unpickling one is the registry's
    ("run_core", "results.uploads"),  # a trial's model, as soon as the trial has completed
    ("ending", "results.finish"),  # the end of a script that never called finish
}

# Packages with one owner: the modules (or packages) that alone may import them.
OWNERS = {
    "ray": ("delivery.relay", "action", "tuning", "trial", "results.checkpoints"),
    "sqlite3": ("backend", "delivery.outbox"),
    "httpx": ("backend.http",),
    "rich": ("console", "views"),
    **dict.fromkeys(("starlette", "uvicorn", "python_multipart", "anyio", "h11"), ("server",)),
    "pyarrow": ("artifact", "places"),
    "fsspec": ("places",),
    "bayes_opt": ("tuning.searchers.bayes_axes", "tuning.searchers.bayes_model"),
    **{name: (f"tuning.searchers.{name}_search",) for name in ("optuna", "nevergrad", "zoopt")},
}
ENVIRONMENT = ("environ", "environb", "getenv", "getenvb", "putenv")


class Import(NamedTuple):
    importer: str
    target: str
    line: int
    late: bool


def modules_of(root: Path) -> dict[str, Path]:
    """Each module of the package by its name below it; the package itself is ``""``."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(tree: ast.AST, late: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """All import statements, and whether they run within a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, late
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from statements(node, late or inside)


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(module: str, path: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """All imports; those of this package as ``ray_synapse.<module>``."""
    tree = ast.parse(path.read_text("utf-8"))
    if not module:  # there the names are only said to a type checker
        tree.body = [node for node in tree.body if not is_type_checking(node)]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node, late in statements(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert isinstance(node, ast.ImportFrom)
            base = node.module or ""
            if node.level:
                up = package.split(".") if package else []
                up = up[: len(up) - node.level + 1]
                base = ".".join(["ray_synapse", *up, *([base] if base else [])])
            names = [
                f"{base}.{alias.name}"
                if f"{base}.{alias.name}".removeprefix("ray_synapse.") in modules
                else base
                for alias in node.names
            ]
        for name in dict.fromkeys(names):
            yield Import(module, name, node.lineno, late)


def part_of(module: str) -> str:
    return module.split(".")[0]


def is_within(module: str, owners: tuple[str, ...]) -> bool:
    return any(module == owner or module.startswith(f"{owner}.") for owner in owners)


def violations(root: Path) -> list[str]:
    """Every import and every use of the environment that the rules do not allow."""
    modules, found = modules_of(root), []
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        for each in imports_of(module, path, modules):
            where = f"{path.relative_to(root)}:{each.line}"
            top, _, target = each.target.partition(".")
            if top != "ray_synapse":
                if top in OWNERS and not is_within(module, OWNERS[top]):
                    found.append(f"{where} imports {top}")
                continue
            if not each.late:
                graph.setdefault(module, set()).add(target)
            same = part_of(target) == part_of(module)
            if same or part_of(target) in ALLOWED.get(part_of(module), ()):
                continue
            if not (each.late and (module, target) in LATE):
                found.append(f"{where} imports ray_synapse.{target}")
        if module != "settings":
            found += [
                f"{path.relative_to(root)}:{line} reads os.{name}" for line, name in env(path)
            ]
    return found + [f"a circle of imports: {' -> '.join(circle)}" for circle in circles(graph)]


def env(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name in ENVIRONMENT:
                    yield node.lineno, alias.name


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The first circle that is met from each module, if any."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


@pytest.fixture
def package() -> Path:
    assert ray_synapse.__file__ is not None
    return Path(ray_synapse.__file__).parent


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_point_down_and_each_package_has_its_one_owner(package: Path) -> None:
    assert violations(package) == []


def test_every_module_has_its_place_in_the_layers(package: Path) -> None:
    assert {part_of(module) for module in modules_of(package)} <= set(ALLOWED)


def test_the_layers_themselves_hold_no_circle() -> None:
    down = {part: {below for below in parts if part not in BASE} for part, parts in ALLOWED.items()}
    assert circles(down) == []


def test_tuning_trial_and_results_may_never_import_each_other() -> None:
    for part in ("tuning", "trial", "results"):
        assert not {"tuning", "trial", "results"} - {part} & set(ALLOWED[part])


def test_the_late_imports_are_still_needed(package: Path) -> None:
    modules = modules_of(package)
    late = {
        (module, each.target.removeprefix("ray_synapse."))
        for module, path in modules.items()
        for each in imports_of(module, path, modules)
        if each.late
    }
    assert late >= LATE


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"tuning/callback.py": "from ray_synapse.results.finish import finish\n"},
            ["tuning/callback.py:1 imports ray_synapse.results.finish"],
        ),
        (
            {"trial/trainable.py": "def f():\n    from ray_synapse import tuning\n"},
            ["trial/trainable.py:2 imports ray_synapse.tuning"],
        ),
        (
            {"results/finish.py": "from ..trial.reports import normalized\n"},
            ["results/finish.py:1 imports ray_synapse.trial.reports"],
        ),
        (
            {"backend/local.py": "import ray_synapse.delivery.channel\n"},
            ["backend/local.py:1 imports ray_synapse.delivery.channel"],
        ),
        (
            {"values.py": "from ray_synapse import run\n"},
            ["values.py:1 imports ray_synapse.run"],
        ),
        (
            {"delivery/channel.py": "if True:\n    import ray\n"},
            ["delivery/channel.py:2 imports ray"],
        ),
        (
            {"run.py": "def f():\n    from ray.tune import report\n"},
            ["run.py:2 imports ray"],
        ),
        (
            {"delivery/pending.py": "import sqlite3\n"},
            ["delivery/pending.py:1 imports sqlite3"],
        ),
        (
            {"backend/local.py": "import httpx\n"},
            ["backend/local.py:1 imports httpx"],
        ),
        (
            {"run.py": "import os\nhome = os.environ['HOME']\n"},
            ["run.py:2 reads os.environ"],
        ),
        (
            {"tuning/callback.py": "from os import getenv as look\n"},
            ["tuning/callback.py:1 reads os.getenv"],
        ),
        (
            {"run.py": "from ray_synapse.start import close\n"},
            ["run.py:1 imports ray_synapse.start"],
        ),
        (
            {"values.py": "from ray_synapse import table\n", "table.py": "from . import values\n"},
            ["a circle of imports: table -> values -> table"],
        ),
        (
            {"__init__.py": "from ray_synapse.run import TrainRun\n"},
            ["__init__.py:1 imports ray_synapse.run"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_import_is_found(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    every = dict.fromkeys(
        ("run.py", "results/finish.py", "tuning/__init__.py", "trial/reports.py", "values.py"), ""
    )
    found = violations(write(tmp_path / "package", {**every, **files}))
    assert found == expected


def test_what_the_rules_allow_is_not_found(tmp_path: Path) -> None:
    files = {
        "__init__.py": "if TYPE_CHECKING:\n    from ray_synapse.run import TrainRun\n",
        "cli.py": "from ray_synapse import __version__, views\n",
        "views.py": "from ray_synapse.run import TrainRun\nimport rich\n",
        "run.py": "def f():\n    from ray_synapse.start import close\n",
        "start.py": (
            "from ray_synapse.run import TrainRun\nfrom ray_synapse.ending import end_job\n"
        ),
        "ending.py": "def f():\n    from ray_synapse.results.finish import finish_at_exit\n",
        "results/finish.py": "from ray_synapse import run\n",
        "delivery/relay.py": "def f():\n    import ray\n",
        "backend/sqlite.py": "import sqlite3\nfrom ray_synapse.errors import StorageError\n",
        "settings.py": "import os\nhome = os.environ\n",
        "errors.py": "",
    }
    assert violations(write(tmp_path / "package", files)) == []
