"""The functions of a plugin: how they are found, and whether they can be called."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.action.plugin import Plugin, load_plugin
from ray_synapse.config.faults import Faults
from ray_synapse.errors import ConfigError, SettingsError

TRAIN = "def train(run, dataset, hyperparameter, checkpoint, **kwargs):\n    return 'weights'\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, as the command has it: it is not on the path of modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])
    importlib.invalidate_caches()
    return tmp_path


def loaded(folder: Path, name: str, text: str) -> Plugin:
    (folder / f"{name}.py").write_text(text)
    return load_plugin(name)


def faults_of(plugin: Plugin, *, is_tune: bool = False, **extras: Any) -> list[str]:
    faults = Faults()
    plugin.check(is_tune, extras, faults)
    try:
        faults.raise_if_any()
    except ConfigError as error:
        return list(error.faults)
    return []


def test_a_plugin_lies_in_the_working_folder_or_in_a_package_there(folder: Path) -> None:
    assert loaded(folder, "plugin_a", TRAIN).train is not None
    (folder / "plugin_package").mkdir()
    (folder / "plugin_package" / "__init__.py").touch()
    (folder / "plugin_package" / "inside.py").write_text(TRAIN)
    plugin = load_plugin("plugin_package.inside")
    assert plugin.train is not None
    assert plugin.tune is None


def test_rays_own_modules_are_no_functions_of_the_plugin(folder: Path) -> None:
    plugin = loaded(folder, "plugin_b", f"from ray import tune\n{TRAIN}")
    assert plugin.tune is None
    assert plugin.used(is_tune=True) == "train"
    with pytest.raises(SettingsError, match=r"neither `train` nor `tune`.*imported from Ray"):
        loaded(folder, "plugin_c", "from ray import train, tune\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_plugin", r"there is no module 'no_such_plugin'.*in the folder in which it lies"),
        ("json.no_such", r"there is no module 'json.no_such'"),
        ("plugin.py", r"give the name of the module, without .py"),
        ("folder/plugin", r"with dots"),
    ],
)
def test_a_plugin_that_is_not_there_is_named(folder: Path, name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_plugin(name)


def test_what_a_plugin_itself_cannot_import_is_told_with_its_line(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)cannot be imported:.*line 1.*no_such_library"):
        loaded(folder, "plugin_d", "import no_such_library\n")


@pytest.mark.parametrize("text", ["train = 3", "class train: pass"])
def test_what_is_no_function_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"`train` of the plugin plugin_\w+ is no function"):
        loaded(folder, f"plugin_{abs(hash(text))}", text)


def test_a_sweep_prefers_tune_and_does_with_train() -> None:
    def train(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> None: ...
    def tune(hyperparameter: Any, run: Any, dataset: Any, checkpoint: Any) -> None: ...

    assert Plugin(train, tune).used(is_tune=True) == "tune"
    assert Plugin(train, tune).used(is_tune=False) == "train"
    assert Plugin(train).used(is_tune=True) == "train"


def test_what_is_missing_is_named() -> None:
    assert "has no `train`: write" in faults_of(Plugin())[0]
    assert "has no `train` (or `tune`): write" in faults_of(Plugin(), is_tune=True)[0]


def test_a_function_of_another_form_is_shown_with_the_one_to_write() -> None:
    def train(run: Any, dataset: Any) -> None: ...
    async def tune(hyperparameter: Any, run: Any, dataset: Any, checkpoint: Any) -> None: ...

    (fault,) = faults_of(Plugin(train))
    assert "train(run" in fault
    assert "write def train(run, dataset, hyperparameter, checkpoint, **kwargs)" in fault
    (fault,) = faults_of(Plugin(train, tune), is_tune=True)
    assert "async" in fault

    def swapped(hyperparameter: Any, run: Any, dataset: Any, checkpoint: Any) -> None: ...

    (fault,) = faults_of(Plugin(swapped))
    assert "in another order: write train(run, dataset, hyperparameter, checkpoint" in fault
    (fault,) = faults_of(Plugin("my_package.plugin"))  # type: ignore[arg-type]
    assert "give the function" in fault


def test_a_function_that_hides_the_module_it_uses_is_a_fault(folder: Path) -> None:
    head = "from ray import tune{}\n\ndef tune(hyperparameter, run, dataset, checkpoint):\n    {}\n"
    hidden = loaded(folder, "plugin_h", head.format("", "tune.report({'loss': 1})"))
    (fault,) = faults_of(hidden, is_tune=True)
    assert "from ray import tune as ray_tune" in fault
    for number, (name, line) in enumerate(
        [(" as other", "other.report({'loss': 1})"), ("", "import ray; ray.tune.report({})")]
    ):
        right = loaded(folder, f"plugin_r{number}", head.format(name, line))
        assert faults_of(right, is_tune=True) == []


def test_params_of_the_plugins_own_go_to_it_or_are_faults() -> None:
    def train(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any, seed: int) -> None: ...
    def takes_all(run: Any, dataset: Any, config: Any, checkpoint: Any, **kw: Any) -> None: ...

    assert faults_of(Plugin(train), seed=1) == []
    assert faults_of(Plugin(takes_all), anything=1) == []
    assert faults_of(Plugin(train), sed=1) == [
        "params: `sed` is not known, and train() takes no such argument: did you mean 'seed'? "
        "(seed); correct it, leave it out, or give train() a **kwargs",
        "params: `seed` is missing: train() of the plugin asks for it",
    ]
    (fault,) = faults_of(Plugin(takes_all), run=1)
    assert fault == "params: `run` is what train() calls an argument of its own: rename it"
