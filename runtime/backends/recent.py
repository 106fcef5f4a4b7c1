"""A bounded memory of what was made, the least recently used dropped first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps up to ``capacity`` values; not thread-safe."""

    def __init__(self, capacity: int, drop: Callable[[Value], None]) -> None:
        """``drop`` is called with each value that leaves."""
        self._capacity = capacity
        self._drop = drop
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._values)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of ``key``, made if it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        # Before making: what leaves gives its memory to what comes.
        while len(self._values) >= self._capacity:
            self._drop(self._values.popitem(last=False)[1])
        self._values[key] = make()
        return self._values[key]

    def clear(self) -> None:
        """Drop everything."""
        while self._values:
            self._drop(self._values.popitem()[1])
