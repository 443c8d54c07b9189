"""A graph in one file, and what is refused instead of read."""

from pathlib import Path

import numpy as np
import pytest

from synth.errors import FormatError, ModelError
from synth.ir.serialise import digest, from_bytes, to_bytes
from synth.load import load_graph
from tests.projects.models import mlp
from tests.quant.callbacks.plant import product


def test_a_saved_graph_is_the_same(tmp_path: Path) -> None:
    graph = mlp()
    data = to_bytes(graph)
    assert digest(load_graph(data)) == digest(graph)
    (tmp_path / "model.synth").write_bytes(data)
    assert digest(load_graph(tmp_path / "model.synth")) == digest(graph)
    assert load_graph(data, name="other").name == "other"


def test_a_typed_graph_is_no_model() -> None:
    with pytest.raises(ModelError, match="has its number formats already"):
        load_graph(to_bytes(product(np.array([[1], [2]]))))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"x" + data, "they do not begin as one"),
        (lambda data: data.replace(b"graph ", b"graph -", 1), "they do not begin as one"),
        (lambda data: data.replace(b"graph ", b"graph " + b"9" * 20, 1), "do not begin as one"),
        (lambda data: data[:100], "bytes: it was cut short"),
        (lambda data: data[:-1], r"the weights .* bytes"),
        (lambda data: data + b"x", r"the weights .* bytes"),
        (lambda data: data.replace(b'"inputs"', b'"\xffnputs"', 1), "text is not ASCII"),
    ],
)
def test_damaged_files_are_refused(spoil: object, words: str) -> None:
    assert callable(spoil)
    with pytest.raises(FormatError, match=words):
        from_bytes(spoil(to_bytes(mlp())))
