"""What the package offers, and what importing it costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ray_synapse

# Each takes long to import, or is only there with an extra.
HEAVY = (
    *("ray", "pyarrow", "pandas", "numpy", "torch", "sklearn", "PIL"),
    *("optuna", "hyperopt", "bayes_opt", "starlette", "uvicorn", "httpx", "rich", "sqlite3"),
)


def in_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def type_checking_names() -> set[str]:
    """The names that a type checker sees."""
    assert ray_synapse.__file__ is not None
    tree = ast.parse(Path(ray_synapse.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names: set[str] = set()
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert ray_synapse.__all__ == sorted(set(ray_synapse.__all__))


def test_all_is_what_is_loaded_at_first_use_and_what_a_type_checker_sees() -> None:
    assert set(ray_synapse.__all__) == {*ray_synapse._WHERE, "__version__"}
    assert type_checking_names() == set(ray_synapse._WHERE)


def test_dir_lists_the_public_names() -> None:
    assert dir(ray_synapse) == ray_synapse.__all__


@pytest.mark.parametrize("name", ray_synapse.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(ray_synapse, name)
    assert value is getattr(ray_synapse, name)
    assert isinstance(value, str) or value.__doc__


def test_a_star_import_gives_the_public_names() -> None:
    found = in_new_process(
        "import json; before = set(globals()); from ray_synapse import *; "
        "print(json.dumps(sorted(set(globals()) - before - {'before', '__version__'})))"
    )
    assert json.loads(found) == [name for name in ray_synapse.__all__ if name != "__version__"]


def test_the_callbacks_two_names_are_one_class() -> None:
    assert ray_synapse.SynapseLoggerCallback is ray_synapse._TuneTrialsLoggingCallback


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'ray_synapse' has no attribute 'no_such_name'"):
        _ = ray_synapse.no_such_name


def test_importing_the_package_imports_nothing_heavy() -> None:
    found = in_new_process(
        f"import ray_synapse, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert found.strip() == "[]"


def test_an_error_can_be_imported_without_anything_heavy() -> None:
    found = in_new_process(
        "from ray_synapse import SynapseError, encode_name; import sys; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert found.strip() == "[]"


def test_a_run_can_be_started_without_importing_ray_or_a_searcher(home: Path) -> None:
    found = in_new_process(
        "import ray_synapse, sys\n"
        "with ray_synapse.init('plain', backend='local') as run: run.log_metric('a', 'b', 1)\n"
        "names = ('ray', 'optuna', 'hyperopt', 'bayes_opt', 'starlette', 'uvicorn', 'torch')\n"
        "print([name for name in names if name in sys.modules])"
    )
    assert found.strip().splitlines()[-1] == "[]"
    assert (home / "ray_synapse.db").is_file()


def test_the_command_line_starts_without_ray() -> None:
    found = in_new_process(
        "import ray_synapse.cli, sys; "
        "print([name for name in ('ray', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    assert found.strip() == "[]"
