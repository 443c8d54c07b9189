"""Universal Binary JSON (UBJ, ubjson.org, draft 12), as XGBoost writes it.

Typed arrays become NumPy arrays in the memory of the document: where it is a bytearray, writing to
them changes it. Objects and arrays that state a type but no length do not occur.
"""

from typing import Any

import numpy as np

__all__ = ["decode"]

_NUMBERS = {
    kind: np.dtype(dtype)
    for kind, dtype in zip(
        b"iUIlLdD", (">i1", ">u1", ">i2", ">i4", ">i8", ">f4", ">f8"), strict=True
    )
}
_WORDS = {ord("T"): True, ord("F"): False, ord("Z"): None}


def decode(data: bytes | bytearray) -> Any:
    """Return the value that the bytes hold.

    Raises
    ------
    ValueError
        They are damaged, cut off, or no UBJ.
    """
    reader = _Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the document")
    return value


class _Reader:
    """Walks over the bytes; `at` is the next one."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.at = memoryview(data), 0

    def value(self) -> Any:
        kind = self._byte()
        if kind in _NUMBERS:
            return self._numbers(kind, 1)[0].item()
        if kind in _WORDS:
            return _WORDS[kind]
        if kind == ord("S"):
            return self._text()
        if kind == ord("["):
            return self._array()
        if kind == ord("{"):
            return self._object()
        raise ValueError(f"byte {self.at - 1} is {chr(kind)!r}, which starts no value")

    def _array(self) -> Any:
        if self._skip("$"):
            kind = self._byte()
            if kind not in _NUMBERS or not self._skip("#"):
                raise ValueError(f"the array before byte {self.at} is not one of counted numbers")
            return self._numbers(kind, self._length())
        if self._skip("#"):
            return [self.value() for _ in range(self._length())]
        values = []
        while not self._skip("]"):
            values.append(self.value())
        return values

    def _object(self) -> dict[str, Any]:
        found = {}
        while not self._skip("}"):
            name = self._text()
            found[name] = self.value()
        return found

    def _text(self) -> str:
        return str(self._take(self._length()), "utf-8")

    def _length(self) -> int:
        length = self.value()
        if not isinstance(length, int) or length < 0:
            raise ValueError(f"the length before byte {self.at} is {length!r}")
        return length

    def _numbers(self, kind: int, count: int) -> Any:
        dtype = _NUMBERS[kind]
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _byte(self) -> int:
        return self._take(1)[0]

    def _skip(self, mark: str) -> bool:
        """Step over this mark if it comes next; say whether it did."""
        found = self.data[self.at : self.at + 1] == mark.encode()
        self.at += found
        return found

    def _take(self, count: int) -> memoryview:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise ValueError(f"the data end at byte {len(self.data)}, inside of a value")
        self.at += count
        return taken
