"""Plain C++17: one header that computes a graph, in floats or in exact integers."""

from backends.cpp.bridge import bridge_lines
from backends.cpp.emit import Header, emit_header

__all__ = ["Header", "bridge_lines", "emit_header"]
