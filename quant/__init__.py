"""Choosing number formats: wishes, calibration, tables, and the step from floats to integers."""
