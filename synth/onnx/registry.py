"""Which handler reads which operator, from which version of its operator set on."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import distribution
from typing import TYPE_CHECKING

from synth.errors import SettingsError

if TYPE_CHECKING:
    from synth.onnx.context import Call, Value

__all__ = ["Handler", "find", "handles"]

Handler = Callable[["Call"], "Value | Sequence[Value | None]"]

_HANDLERS: dict[tuple[str, str], dict[int, Handler]] = {}


def handles(*op_types: str, since: int = 1, domain: str = "") -> Callable[[Handler], Handler]:
    """Register a function as the reader of operators, from version `since` on.

    A handler receives the node as a `Call`, adds operations to the graph through it, and returns
    the node's results: one value, or a sequence if the operator has several. None stands for a
    result of text: an output of the model is left out then, and a node that reads it is refused.
    Of a domain other than ONNX's own, the latest registration counts.

    Raises
    ------
    SettingsError
        The operator is one of ONNX's own, which has a reader.
    """

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            versions = _HANDLERS.setdefault((domain, op_type), {})
            if not domain and since in versions:
                raise SettingsError(
                    f"ONNX's own {op_type} since version {since} has a reader already; "
                    'register yours for a domain: handles(..., domain="my.domain")'
                )
            versions[since] = handler
        return handler

    return register


def find(domain: str, op_type: str, version: int) -> Handler | None:
    """Return the handler of the newest version that is not newer than `version`."""
    if domain:
        _load_others()
    versions = _HANDLERS.get((domain, op_type), {})
    known = [since for since in versions if since <= version]
    return versions[max(known)] if known else None


@cache
def _load_others() -> None:
    """Import the handlers that our other packages have: imports run the other way."""
    for entry in distribution("synth").entry_points.select(group="synth.onnx"):
        entry.load()
