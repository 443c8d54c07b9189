"""Projects: the only code that touches disk, compilers, simulators and vendor tools."""

from importlib.util import find_spec
from pathlib import Path

__all__: list[str] = []


def _check_synth() -> None:
    """`synth` looks after its siblings; that it is shadowed itself, only this file can say."""
    home = Path(__file__).resolve().parents[1]
    spec = find_spec("synth")
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != home:
        where = "nothing" if spec is None else spec.origin or "a folder without __init__.py"
        raise ImportError(
            f"{where} stands where the package 'synth' is meant, which is in {home / 'synth'}: "
            "rename it, or run Python from another folder"
        )


_check_synth()
