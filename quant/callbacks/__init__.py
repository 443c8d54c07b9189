"""Callbacks that make training aware of the hardware: what `fit` reports is what is built.

`core` holds what they share, without a framework; a file beside it for each kind of callback, and
one for each framework, which is imported only with it.
"""
