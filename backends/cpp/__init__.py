"""Plain C++17: headers that compute a graph, in floats or in exact integers."""

from backends.cpp.bridge import bridge_lines
from backends.cpp.emit import Header, emit_header
from backends.cpp.plan import Cpp, printable

__all__ = ["Cpp", "Header", "bridge_lines", "emit_header", "printable"]
