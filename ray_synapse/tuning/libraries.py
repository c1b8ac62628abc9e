"""Whether the library of a searcher or scheduler is there, and of a release that works."""

import importlib
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from ray_synapse.errors import LibraryError


@dataclass(frozen=True)
class Library:
    """A library that something needs.

    Attributes:
        module: What is imported.
        requirement: What pip is told, e.g. ``optuna>=4.0``: the releases that work.
        also: What else pip is told.
        note: What else to know before installing it, as a sentence.
    """

    module: str
    requirement: str
    also: str = ""
    note: str = ""

    def check(self, where: str) -> None:
        """Make sure that it can be used.

        Args:
            where: What needs it, e.g. ``search_alg "optuna"``.

        Raises:
            LibraryError: With the line for pip.
        """
        wanted = Requirement(self.requirement)
        try:
            installed = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            installed = None
        if installed is not None and not wanted.specifier.contains(installed, prereleases=True):
            raise LibraryError(
                f"{where} does not work with {wanted.name} {installed}. {self._advice()}"
            )
        try:
            importlib.import_module(self.module)
        except Exception as error:  # also what a library's own imports raise, of whatever type
            if installed is None:
                raise LibraryError(
                    f"{where} needs {wanted.name}, which is not installed. {self._advice()}"
                ) from None
            reason = f"{type(error).__name__}: {error}"
            raise LibraryError(
                f"{where} needs {wanted.name}, and {installed} cannot be imported ({reason}). "
                f"{self._advice()}"
            ) from error

    def _advice(self) -> str:
        return f'{self.note}Install it: pip install --upgrade "{self.requirement}"{self.also}'
