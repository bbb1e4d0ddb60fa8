"""The one way to look something up by name: architectures, unlearning methods, pruning scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from utils.names import lookup

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Items by name, in order of registration, with aliases.

    Args:
        flag: named in the error for an unknown name.
        what: one of the items in words, for programmers' errors.
    """

    def __init__(self, flag: str, what: str):
        self._flag, self._what = flag, what
        self._items: dict[str, Item] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, item: Item, aliases: tuple[str, ...] = ()) -> None:
        """Register ``item``.

        Raises:
            ValueError: the name or an alias is taken.
        """
        for taken in (name, *aliases):
            if taken in self._items or taken in self._aliases:
                raise ValueError(f"{self._what} {taken!r} is registered twice")
        self._items[name] = item
        self._aliases.update(dict.fromkeys(aliases, name))

    def get(self, name: str) -> Item:
        """The item of that name or alias.

        Raises:
            UsageError: names the flag, the value, the nearest name and all of them.
        """
        if name not in self._items and name not in self._aliases:
            lookup(name, sorted(self._items, key=str.lower), self._flag)
        return self._items[self._aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __contains__(self, name: str) -> bool:
        return name in self._items
