"""QONNX: typed graphs as files that qonnx, Netron and other tools read, and back."""

from backends.qonnx.emit import emit
from backends.qonnx.read import Exported, read

__all__ = ["Exported", "emit", "read"]
