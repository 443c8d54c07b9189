"""Vitis HLS projects in hls4ml's layout: `emit` writes them, `golden_data` formats test vectors."""

from backends.vitis.design import Design
from backends.vitis.emit import Vitis, emit
from backends.vitis.golden import golden_data

__all__ = ["Design", "Vitis", "emit", "golden_data"]
