"""What is in a project, as data: ports, arrays, and a hash of each file."""

import json
from collections.abc import Mapping

from backends.base import sha256
from backends.vitis.design import Design, Port
from backends.vitis.top import tapped
from synth.fixed import Fixed

__all__ = ["SCHEMA", "manifest"]

SCHEMA = 1


def manifest(design: Design, digest: str, files: Mapping[str, str | bytes]) -> str:
    """Return ``manifest.json``: canonical JSON."""
    settings = design.settings
    content = {
        "schema": SCHEMA,
        "backend": "vitis",
        "name": settings.name,
        "version": settings.version,
        "part": settings.part,
        "namespace": design.namespace,
        "graph": digest,
        "inputs": [_port(port) for port in design.inputs],
        "outputs": [_port(port) for port in design.outputs],
        "values": [_value(design, value) for value in tapped(design)],
        "files": {path: sha256(files[path]) for path in sorted(files)},
    }
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def _port(port: Port) -> dict[str, object]:
    return {
        "value": port.value,
        "identifier": port.identifier,
        "shape": list(port.shape),
        "formats": [str(fmt) for fmt in port.formats],
        "words": port.words,
    }


def _value(design: Design, value: str) -> dict[str, object]:
    """Describe a value that a trace shows: its array is counted in the array's finest LSB."""
    kind, origin = design.codes(value), design.graph.origins[value]
    fracs = [] if isinstance(kind.format, Fixed) else kind.format.frac.tolist()
    return {
        "value": value,
        "identifier": None if design.is_constant(value) else design.array(value),
        "layer": origin.layer,
        "role": origin.role,
        "shape": list(kind.shape),
        "format": str(design.type(value)),
        "frac": kind.frac,
        "element_fracs": fracs,
        "words": -(-design.type(value).width // 64),
    }
