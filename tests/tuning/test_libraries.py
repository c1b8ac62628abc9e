"""Whether the library of a searcher is there, and of a release that works."""

from importlib import metadata
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from ray_synapse.errors import LibraryError
from ray_synapse.tuning.libraries import Library

WHERE = 'search_alg "x"'


def refusal(library: Library) -> str:
    with pytest.raises(LibraryError) as caught:
        library.check(WHERE)
    assert isinstance(caught.value, ImportError)
    return str(caught.value)


def module(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_a_library_that_is_there_is_fine() -> None:
    Library("pytest", "pytest>=1.0").check(WHERE)
    Library("packaging.requirements", "packaging").check(WHERE)


def test_a_library_that_is_missing_is_told_with_the_line_for_pip() -> None:
    text = refusal(Library("no_such_module", "no-such-library>=1.0"))
    assert text == (
        f"{WHERE} needs no-such-library, which is not installed. "
        'Install it: pip install --upgrade "no-such-library>=1.0"'
    )


def test_the_line_for_pip_comes_last_and_can_be_pasted() -> None:
    library = Library(
        "no_such_module", "no-such-library>=1.0", also=' "also>=2"', note="So it is. "
    )
    text = refusal(library)
    assert "not installed. So it is. Install it: pip" in text
    assert text.endswith('pip install --upgrade "no-such-library>=1.0" "also>=2"')


@pytest.mark.parametrize("installed", ["1.9.9", "3.0", "3.1.2", "2.0rc1"])
def test_a_release_outside_of_the_range_is_told(installed: str, mocker: MockerFixture) -> None:
    mocker.patch("importlib.metadata.version", return_value=installed)
    text = refusal(Library("pytest", "pytest>=2.0,<3"))
    assert f"{WHERE} does not work with pytest {installed}." in text
    assert 'pip install --upgrade "pytest>=2.0,<3"' in text


@pytest.mark.parametrize("installed", ["2.0", "2.9.9", "2.5.0rc1", "2.1.post1", "2.1+local"])
def test_a_release_within_the_range_is_taken(installed: str, mocker: MockerFixture) -> None:
    mocker.patch("importlib.metadata.version", return_value=installed)
    Library("pytest", "pytest>=2.0,<3").check(WHERE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import numpy_of_the_past", "ModuleNotFoundError: No module named 'numpy_of_the_past'"),
        ("raise AttributeError('np.float is gone')", "AttributeError: np.float is gone"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("def f(:", "SyntaxError: "),
    ],
)
def test_a_library_that_raises_when_it_is_imported_is_told_with_the_reason(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    name = module(tmp_path, text, monkeypatch, "a_broken_library")
    mocker.patch("importlib.metadata.version", return_value="1.2")
    said = refusal(Library(name, "broken>=1.0"))
    assert f"{WHERE} needs broken, and 1.2 cannot be imported ({reason}" in said
    assert 'pip install --upgrade "broken>=1.0"' in said


def test_a_module_without_a_package_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    name = module(tmp_path, "", monkeypatch, "a_vendored_library")
    mocker.patch("importlib.metadata.version", side_effect=metadata.PackageNotFoundError)
    Library(name, "vendored>=1.0").check(WHERE)
