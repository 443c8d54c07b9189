"""The project of this backend: headers, C functions around them, and what is in them as data."""

import json

from backends.base import Plan, Settings, sha256
from backends.cpp.bridge import bridge_lines
from backends.cpp.emit import Header, emit_header
from backends.cpp.ports import Port
from backends.cpp.values import numpy_name
from synth.ir import Graph
from synth.passes import rounded_constants, simplified

__all__ = ["SCHEMA", "Cpp"]

SCHEMA = 1
_INSIDE = 200_000
"""Weights beyond which they are a file of their own: text of more takes compilers seconds."""


class Cpp:
    """The backend for plain C++: ``NAME_float.h``, and ``NAME_integer.h`` if there are formats."""

    name = "cpp"
    needs_part = False
    needs_integers = False

    def emit(self, imported: Graph, typed: Graph | None, settings: Settings) -> Plan:
        """Write the headers.

        Raises
        ------
        UnsupportedOp
            An operation, an element type or a width that is not printed.
        """
        files: dict[str, str | bytes] = {}
        models = {}
        bridge = ["// Functions by which other languages call the models.", *_INCLUDES]
        for stage, graph in (
            ("float", rounded_constants(simplified(imported))),
            ("integer", typed),
        ):
            if graph is None:
                continue
            name = f"{settings.name}_{stage}"
            inside = sum(array.size for array in graph.constants.values()) <= _INSIDE
            header = emit_header(graph, name, settings.version, inside=inside)
            files[f"{name}.h"] = header.text
            if header.weights is not None:
                files[f"{name}.weights"] = header.weights
            bridge += ["", f'#include "{name}.h"', "", *bridge_lines(name, header)]
            models[stage] = _described(name, header, graph)
        files[f"{settings.name}_bridge.cpp"] = "\n".join(bridge) + "\n"
        content = {
            "schema": SCHEMA,
            "backend": self.name,
            "name": settings.name,
            "version": settings.version,
            "models": models,
            "files": {path: sha256(text) for path, text in sorted(files.items())},
        }
        files["manifest.json"] = json.dumps(content, indent=1, sort_keys=True) + "\n"
        return Plan(files)


_INCLUDES = ("#include <functional>", "#include <thread>")


def _described(name: str, header: Header, graph: Graph) -> dict[str, object]:
    return {
        "name": name,
        "namespace": header.namespace,
        "weights": None if header.weights is None else f"{name}.weights",
        "inputs": [_port(port, graph) for port in header.inputs],
        "outputs": [_port(port, graph) for port in header.outputs],
    }


def _port(port: Port, graph: Graph) -> dict[str, object]:
    return {
        "value": port.value,
        "identifier": port.name,
        "shape": list(graph.types[port.value].shape),
        "dtype": numpy_name(port.type),
    }
