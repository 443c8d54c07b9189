"""The user's wishes about number formats, as data.

Wishes are found by layer and role. Roles are ours, and hls4ml's words for them are accepted:

=============  ==================  ======================================================
role           hls4ml's word       what it formats
=============  ==================  ======================================================
input          (input layer)       a graph input that no wire fixes
weight         weight              kernels and constant factors; rounded to nearest
bias           bias                constant terms
accumulator    accum               a sum of products as it leaves the adders; else exact
activation     result              what a layer hands on
table          table, table_t      what a look-up table returns
leaf           score               leaves of trees (score is conifer's word)
=============  ==================  ======================================================
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synth.errors import PrecisionError
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_format
from synth.ir import Graph, Origin
from synth.ir.graph import no_such_layer

__all__ = ["ROLES", "Precision", "parse_precision", "parse_wires"]

ROLES = ("accumulator", "activation", "bias", "input", "leaf", "table", "weight")

_WORDS = {
    "accum": "accumulator",
    "accum_t": "accumulator",
    "exp_table": "table",
    "exp_table_t": "table",
    "inv_table": "table",
    "inv_table_t": "table",
    "result": "activation",
    "result_t": "activation",
    "scale": "weight",
    "score": "leaf",
    "table_t": "table",
    "weight_t": "weight",
    "bias_t": "bias",
    **{role: role for role in ROLES},
}


@dataclass(frozen=True)
class Precision:
    """Formats by layer and role; what is not said is chosen from calibration data.

    Attributes
    ----------
    default
        For all roles but the accumulator, which stays exact unless it is named.
    roles
        By role, for every layer.
    layers
        By (layer, role), before all others; the role "*" stands for all but the accumulator.
    """

    default: Format | None = None
    roles: Mapping[str, Format] = field(default_factory=dict)
    layers: Mapping[tuple[str, str], Format] = field(default_factory=dict)

    def find(self, role: str, *origins: Origin) -> Format | None:
        """Return the wish for a value in a role, or None.

        Several origins are asked in turn: a kernel into which a normalisation was folded is still
        that of its own layer, and its result is that of the normalisation.
        """
        named = self.named(role, *origins)
        if named is not None or role == "accumulator":
            return named
        return self.default

    def named(self, role: str, *origins: Origin) -> Format | None:
        """Return the wish for a value by its layer or its role, leaving out the default."""
        for origin in origins:
            for key in ((origin.layer, role), (origin.layer, "*")):
                if key in self.layers and not (key[1] == "*" and role == "accumulator"):
                    return self.layers[key]
        return self.roles.get(role)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to choose from data."""
        return self.default is not None

    def check_layers(self, known: Iterable[str]) -> None:
        """Raise PrecisionError if a wish names a layer that the model does not have."""
        names = frozenset(known)
        for layer, _ in self.layers:
            if layer not in names:
                raise PrecisionError(f"precision {no_such_layer(layer, names)}")


def parse_precision(value: Any) -> Precision:
    """Read what a user may pass as ``precision=``.

    Parameters
    ----------
    value
        None, a format or its text, or a mapping: ``"default"``, roles, layers, ``"layer.role"``
        or ``{layer: {role: format}}``; or a whole hls4ml configuration.

    Raises
    ------
    PrecisionError
        For anything else, saying which entry is wrong.
    """
    if value is None:
        return Precision()
    if isinstance(value, Precision):
        return value
    if isinstance(value, (str, Fixed, Format)):
        return Precision(default=_format(value, "precision"))
    if not isinstance(value, Mapping):
        raise PrecisionError(
            f"precision must be a format such as 'fixed<16,6>', a mapping or None, not {value!r}"
        )
    if "Model" in value or "LayerName" in value:
        return _hls4ml(value)
    return _mapping(value)


def _mapping(value: Mapping[Any, Any]) -> Precision:
    default: Format | None = None
    roles: dict[str, Format] = {}
    layers: dict[tuple[str, str], Format] = {}
    for key, entry in value.items():
        where = f"precision[{key!r}]"
        if not isinstance(key, str):
            raise PrecisionError(f"{where}: keys are names of layers and roles, not {key!r}")
        if isinstance(entry, Mapping):
            for word, text in entry.items():
                layers[key, _role(word, where)] = _format(text, f"{where}[{word!r}]")
        elif key == "default":
            default = _format(entry, where)
        elif key in _WORDS:
            roles[_WORDS[key]] = _format(entry, where)
        elif "." in key and key.rpartition(".")[2] in _WORDS:
            layer, _, word = key.rpartition(".")
            layers[layer, _WORDS[word]] = _format(entry, where)
        else:
            layers[key, "*"] = _format(entry, where)
    return Precision(default, roles, layers)


def _hls4ml(value: Mapping[Any, Any]) -> Precision:
    """Read a configuration as hls4ml's own functions write it; only its precisions matter here."""
    flat: dict[Any, Any] = {}
    model = _section(value, "Model").get("Precision")
    if isinstance(model, Mapping):
        flat.update({k: v for k, v in model.items() if v != "auto" and k != "maximum"})
    elif model is not None:
        flat["default"] = model
    layers = _section(value, "LayerName")
    for layer in layers:
        wished = _section(layers, layer, "precision['LayerName']").get("Precision")
        if isinstance(wished, Mapping):
            flat[layer] = {k: v for k, v in wished.items() if v != "auto" and k in _WORDS}
        elif wished is not None and wished != "auto":
            flat[layer] = wished
    if value.get("LayerType"):
        raise PrecisionError("precision: hls4ml's LayerType is not supported; name the layers")
    return _mapping(flat)


def _section(config: Mapping[Any, Any], key: Any, where: str = "precision") -> Mapping[Any, Any]:
    """Return a section of a configuration; one that is missing or None says nothing."""
    found = config.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise PrecisionError(
            f"{where}[{key!r}] must be a mapping as hls4ml has it, with a 'Precision', not "
            f"{found!r}"
        )
    return found


def _role(word: Any, where: str) -> str:
    if word == "default":
        return "*"
    if word not in _WORDS:
        raise PrecisionError(f"{where}: {word!r} is no role; roles are {', '.join(ROLES)}")
    return _WORDS[word]


def _format(value: Any, where: str) -> Format:
    if isinstance(value, Format):
        return value
    if isinstance(value, Fixed):
        return Format(value, Round.RND, Overflow.SAT)
    if not isinstance(value, str):
        raise PrecisionError(f"{where} must be a format such as 'fixed<16,6>', not {value!r}")
    try:
        return parse_format(value)
    except PrecisionError as error:
        raise PrecisionError(f"{where}: {error}") from None


def parse_wires(value: Any, names: tuple[str, ...], graph: Graph, what: str) -> dict[str, Format]:
    """Read ``inputs=`` or ``outputs=``: the formats that neighbouring firmware fixes.

    A format without modes rounds to nearest and saturates on its way in: a wire says how wide it
    is, and a score of exactly 1.0 must not wrap to 0.

    Parameters
    ----------
    value
        None, one format for all, or {name: format or a list of formats, one a feature}.
    names
        The graph's inputs or outputs.
    what
        "inputs" or "outputs", for messages.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        value = dict.fromkeys(names, value)
    wires = {}
    for name, entry in value.items():
        if name not in names:
            raise PrecisionError(
                f"{what}={{{name!r}: ...}}: the model has no such {what[:-1]}; it has "
                f"{', '.join(names)}"
            )
        wires[name] = _wire(entry, graph.types[name].shape, f"{what}[{name!r}]")
    return wires


def _wire(entry: Any, shape: tuple[int, ...], where: str) -> Format:
    if isinstance(entry, FixedArray):
        return Format(entry, Round.RND, Overflow.SAT)
    if not isinstance(entry, list | tuple):
        return _with_modes(entry, where)
    formats = [_with_modes(e, f"{where}[{i}]") for i, e in enumerate(entry)]
    if not shape or len(formats) != shape[-1]:
        raise PrecisionError(
            f"{where}: {len(formats)} formats for {shape[-1] if shape else 1} features"
        )
    if len({(f.rounding, f.overflow) for f in formats}) != 1:
        raise PrecisionError(
            f"{where}: the features of one tensor must share rounding and overflow"
        )
    types = [f.type for f in formats if isinstance(f.type, Fixed)]
    return Format(FixedArray.stack(types), formats[0].rounding, formats[0].overflow)


def _with_modes(entry: Any, where: str) -> Format:
    fmt = _format(entry, where)
    if isinstance(entry, str) and entry.count(",") < 2:
        return Format(fmt.type, Round.RND, Overflow.SAT)
    return fmt
