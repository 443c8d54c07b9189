"""Boosted decision trees: loaders, the integer ensemble, and its lowering into the shared graph.

Empty until the first loader lands; the package exists so that the import layers hold from the
start.
"""
