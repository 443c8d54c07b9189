"""Weights beside the model: read only from regular files inside the model's own folder."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from synth.errors import FormatError

__all__ = ["read_external"]


def read_external(folder: Path | None, tensor: str, entries: dict[str, str], size: int) -> bytes:
    """Return the bytes of one tensor that is kept outside the model file.

    Parameters
    ----------
    folder
        Of the model file; None for a model in memory, which has none.
    entries
        What the file says: "location", and perhaps "offset" and "length".
    size
        Bytes that the tensor's shape and type need.

    Raises
    ------
    FormatError
        The location is absolute, leaves the folder, passes a symbolic link or is no regular file;
        or the file does not hold as many bytes.
    """
    location = entries.get("location", "")
    if folder is None:
        raise FormatError(
            f"tensor {tensor!r} is kept in the file {location!r}, but the model came without a "
            "folder; give its path, or load its external data first"
        )
    path = _inside(folder, tensor, location)
    offset = _count(entries, "offset", tensor, 0)
    length = _count(entries, "length", tensor, size)
    available = path.stat().st_size
    if length != size or offset + size > available:
        raise FormatError(
            f"tensor {tensor!r} needs {size} bytes, but the file {location!r} of {available} bytes "
            f"offers {length} at offset {offset}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _inside(folder: Path, tensor: str, location: str) -> Path:
    parts = PurePosixPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if absolute or not parts or ".." in parts or "\\" in location or "\0" in location:
        raise FormatError(
            f"tensor {tensor!r} is kept in {location!r}, which is outside the model's folder; "
            "external data must lie beside the model, under a relative path without '..'"
        )
    path = folder
    try:
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise FormatError(
                    f"tensor {tensor!r} is kept in {location!r}, which is a symbolic link; "
                    "replace the link by the file"
                )
        found = path.is_file()
    except OSError:  # a name that is too long
        found = False
    if not found:
        raise FormatError(f"tensor {tensor!r} is kept in {location!r}, which is no file")
    return path


def _count(entries: dict[str, str], key: str, tensor: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise FormatError(f"tensor {tensor!r}: {key} of its external data is {text!r}, no count")
    return int(text)
