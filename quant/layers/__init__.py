"""Layers that train number formats: one file for each framework, imported only with it."""
