"""Registries: look-up by name for all that a flag can name (methods, architectures, data sets, split schemes, scores).

A registry imports all modules of one package of this project. Other installed packages add items through entry points,
whose import registers the item.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

from utils.errors import UsageError
from utils.names import lookup

Item = TypeVar("Item")
GROUPS = "unlearn_sparse."  # start of the names of entry point groups


class Registry(Generic[Item]):
    """Items by name, in order of registration, with aliases.

    Args:
        flag: what the error message for an unknown name begins with.
        item: what an item is, in a word, for error messages to programmers.
        package: a package, all modules of which are imported before the first look-up.
        group: entry points of this group are imported when a name is not found otherwise, or all names are listed.
        forms: further values that the flag takes, for error messages.
    """

    def __init__(
        self, flag: str, item: str, package: str | None = None, group: str | None = None, forms: tuple[str, ...] = ()
    ):
        self._flag, self._item, self._forms = flag, item, forms
        self._package, self._group = package, group
        self._items: dict[str, Item] = {}
        self._aliases: dict[str, str] = {}
        self._of_notebook: set[str] = set()

    def add(self, name: str, item: Item, aliases: tuple[str, ...] = (), module: str = "") -> None:
        """Register an item.

        Args:
            aliases: further names.
            module: name of the module that defines it. An item of "__main__" may replace itself, because a notebook's
                cell can be run again.
        Raises:
            ValueError: the name or an alias is taken.
        """
        again = module == "__main__" and name in self._of_notebook
        for taken in () if again else (name, *aliases):
            if taken in self._items or taken in self._aliases:
                raise ValueError(f"{self._item} {taken!r} is registered twice")
        if module == "__main__":
            self._of_notebook.add(name)
        self._items[name] = item
        self._aliases.update(dict.fromkeys(aliases, name))

    def get(self, name: str) -> Item:
        """The item of this name or alias.

        Raises:
            UsageError: there is none, or a plugin cannot be imported; the message names the flag, the value, the
                nearest name and all names.
        """
        if name not in self:
            lookup(name, [*sorted(self._items, key=str.lower), *self._forms], self._flag)
        return self._items[self._aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        self._import_package()
        self._import_plugins()
        return iter(list(self._items))

    def __contains__(self, name: str) -> bool:
        for search in (self._import_package, self._import_plugins):
            search()
            if name in self._items or name in self._aliases:
                return True
        return False

    def _import_package(self) -> None:
        package, self._package = self._package, None
        if package is not None:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")

    def _import_plugins(self) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        from importlib.metadata import entry_points

        for entry in entry_points(group=group):
            try:
                entry.load()
            except Exception as error:  # noqa: BLE001  (another package's import can raise anything)
                owner = entry.dist.name if entry.dist else "an unknown package"
                hint = f"({group}) cannot be loaded ({type(error).__name__}: {error}); repair or uninstall that package"
                raise UsageError(f"{self._flag}: the entry point {entry.name} of {owner} {hint}") from error


@functools.cache
def plugin_packages() -> frozenset[str]:
    """Names of the installed packages outside this project that add items to registries."""
    from importlib.metadata import entry_points

    groups = (name for name in entry_points().groups if name.startswith(GROUPS))
    return frozenset(entry.module.partition(".")[0] for group in groups for entry in entry_points(group=group))
