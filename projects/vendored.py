"""The vendor's number types, ap_types: found in hls4ml's wheel and copied into each project.

They are AMD's, under the Apache License 2.0. hls4ml is located, never imported.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from synth.errors import ToolError

__all__ = ["ap_types_files", "ap_types_folder"]

_LICENSE = "LICENSE"


def ap_types_folder() -> Path:
    """Return where hls4ml's wheel keeps the headers.

    Raises
    ------
    ToolError
        If hls4ml isn't installed, or ships no such headers.
    """
    spec = find_spec("hls4ml")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError(
            "the ap_types headers come with hls4ml, which is not installed: "
            "pip install 'hls4ml==1.3.*'"
        )
    folder = Path(spec.submodule_search_locations[0], "templates", "vivado", "ap_types")
    if not (folder / "ap_fixed.h").is_file():
        raise ToolError(f"hls4ml ships no ap_types headers in {folder}: install hls4ml 1.3")
    return folder


@cache
def ap_types_files() -> dict[str, bytes]:
    """Return the headers and their licence: content by path relative to ``firmware/ap_types``.

    Raises
    ------
    ToolError
        As `ap_types_folder`, or if the licence is missing.
    """
    folder = ap_types_folder()
    headers = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.h"))
    }
    return {**headers, _LICENSE: _license(folder.parents[2])}


def _license(package: Path) -> bytes:
    """Return the text of the Apache License 2.0, which hls4ml's distribution carries."""
    for info in sorted(package.parent.glob("hls4ml-*.dist-info")):
        for path in sorted(info.rglob("LICENSE*")):
            return path.read_bytes()
    raise ToolError(f"hls4ml's licence is not beside {package}: install hls4ml from its wheel")
