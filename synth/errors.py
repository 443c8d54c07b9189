"""Every exception that a user of synth can meet.

::

    SynthError
    ├── ModelError              the model cannot be taken as it is
    │   ├── FormatError         the file is truncated, hostile or not a model at all
    │   ├── UnsupportedOp       operators that synth does not know (all of them, in one message)
    │   └── ShapeError          shapes that do not fit, or dimensions without a value
    ├── GraphError              a graph breaks a rule of its stage
    ├── PrecisionError          a number format that is malformed or that does not fit
    ├── CalibrationError        calibration data that is missing, of the wrong shape or not finite
    ├── DataError               training data that is missing, damaged or of another shape
    ├── PartError               a device that the table does not know
    ├── DesignTooLarge          a design that no tool would survive; the message says what to change
    ├── ProjectError            a project folder that exists, is incomplete or is being written
    ├── SettingsError           an option that is out of range or that the backend does not know
    ├── MissingPackage          a Python package that is not installed; it is an ImportError too
    └── ToolError               a compiler, simulator or vendor tool that is missing or failed

Each message says what is wrong, the value, where it stands (node, layer or file), and the remedy.
"""

__all__ = [
    "CalibrationError",
    "DataError",
    "DesignTooLarge",
    "FormatError",
    "GraphError",
    "MissingPackage",
    "ModelError",
    "PartError",
    "PrecisionError",
    "ProjectError",
    "SettingsError",
    "ShapeError",
    "SynthError",
    "ToolError",
    "UnsupportedOp",
]


class SynthError(Exception):
    """The root of the tree: ``except SynthError`` catches everything a user can cause."""


class ModelError(SynthError):
    """The model cannot be taken as it is."""


class FormatError(ModelError):
    """The file is truncated, hostile or not a model at all."""


class UnsupportedOp(ModelError):
    """The model, or a backend's input, holds operators that have no rule."""


class ShapeError(ModelError):
    """Shapes do not fit together, or a dimension has no value."""


class GraphError(SynthError):
    """A graph breaks a rule of its stage."""


class PrecisionError(SynthError):
    """A number format is malformed, contradictory or cannot hold what it must."""


class CalibrationError(SynthError):
    """Calibration data is missing, of the wrong shape, or not finite."""


class DataError(SynthError):
    """Training data is missing, damaged, or of another shape than what was asked for."""


class PartError(SynthError):
    """The device is not in the table."""


class DesignTooLarge(SynthError):
    """The design would exhaust any tool; the message gives its size and what to change."""


class ProjectError(SynthError):
    """A project folder exists already, is incomplete, or is being written by another process."""


class SettingsError(SynthError):
    """An option of a conversion is out of its range, or unknown."""


class MissingPackage(SynthError, ImportError):
    """A package that only some users need is not installed; the message names the extra."""

    @classmethod
    def of_extra(cls, module: str, package: str, extra: str) -> "MissingPackage":
        """Return the error of a module of ours whose package comes with an extra."""
        return cls(
            f"{module} needs the package {package!r}, which is not installed: "
            f"pip install 'synth[{extra}]'"
        )


class ToolError(SynthError):
    """A compiler, simulator or vendor tool is missing or failed."""
