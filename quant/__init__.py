"""Choosing and training number formats."""

from quant.allocate.search import search

__all__ = ["search"]
