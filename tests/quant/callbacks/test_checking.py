"""Validation, resources and ranges on a typed graph, without any framework."""

from typing import Any

import numpy as np
import pytest

from quant.callbacks.checking import BitExactValidation, ResourceLogger, encoded
from quant.callbacks.core import Conductor, Stop
from quant.callbacks.ranges import RangeTrace, trace
from quant.callbacks.resources import resources
from synth.errors import CalibrationError, PartError, SettingsError, ShapeError
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round
from synth.ir import Graph
from synth.parts import find
from tests.quant.callbacks.plant import Plain, product

WEIGHTS = np.array([[1, -2, 0], [3, 4, 5]])
X = np.random.default_rng(0).integers(-128, 128, (50, 2)).astype(np.float32)
SIX = Format(Fixed(signed=True, width=6, frac=-3), Round.TRN, Overflow.SAT)


def graph() -> Graph:
    return product(WEIGHTS)


def exact(x: Array) -> Array:
    return np.asarray(x @ WEIGHTS)


def wrong(x: Array) -> Array:
    y = exact(x)
    y[7, 1] += 2.0**-20
    return y


def test_equal_outputs_let_training_go_on() -> None:
    validation = BitExactValidation(X, every=2)
    run, model = Conductor([validation]), Plain(graph=graph, own=exact)
    for epoch in range(4):
        logs = {"epoch": float(epoch)}
        assert run.epoch(logs, model) is None
        assert logs.get("bit_exact") == (50.0 if epoch % 2 else None)
    assert validation.compared == 2 * 50 * 3


def test_one_bit_ends_the_training_and_is_named() -> None:
    validation = BitExactValidation(X)
    stop = Conductor([validation]).epoch({"epoch": 3.0}, Plain(graph=graph, own=wrong))
    assert isinstance(stop, Stop)
    assert "epoch 3: sample 7 of the validation data, output 'y' [1]" in stop.reason
    assert "they part at layer 'dense'" in stop.reason
    assert validation.mismatch is not None
    assert validation.mismatch.framework - validation.mismatch.integer == 2.0**-20


def test_data_that_do_not_fit_are_named() -> None:
    model = Plain(graph=graph, own=lambda x: exact(x)[:, :2])
    with pytest.raises(ShapeError, match=r"has the shape \(50, 3\) in the integer model and"):
        Conductor([BitExactValidation(X)]).epoch({}, model)
    with pytest.raises(ShapeError, match=r"has the shape \(50, 1\); input 'x' takes \(events, 2\)"):
        Conductor([BitExactValidation(X[:, :1])]).epoch({}, model)
    with pytest.raises(ShapeError, match="at least one event"):
        encoded(graph(), X[:0])
    for value in (0.5, 200.0, np.nan):
        x = X.copy()
        x[3, 1] = value
        with pytest.raises(CalibrationError, match=r"sample 3 has .* at \[1\], which is no value"):
            Conductor([BitExactValidation(x)]).epoch({}, model)
    with pytest.raises(SettingsError, match="ResourceLogger: every must be a whole number"):
        ResourceLogger(every=-1)
    with pytest.raises(PartError, match="unknown part 'xcvu'"):
        ResourceLogger("xcvu")


@pytest.mark.parametrize("kind", [BitExactValidation, RangeTrace])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:0], r"the data has the shape \(0, 2\): give at least one event"),
        (3.0, r"the data has the shape \(\): give at least one event"),
        (None, "the data holds object: give an array of numbers"),
        (["a"], "the data holds <U1: give an array of numbers"),
        ([[1, 2], [3]], r"the data has rows of unequal length: give an array \(events, ...\)"),
        ({}, "the data is empty: give an array for each input by its name"),
        ({"a": X, "b": X[:0]}, r"the data of input 'b' has the shape \(0, 2\): give at least one"),
        (
            {"a": X, "b": X[:3]},
            "inputs have unequal numbers of events, {'a': 50, 'b': 3}: give the",
        ),
    ],
)
def test_data_that_are_no_events_are_refused_at_once(kind: Any, data: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=f"{kind.__name__}: {message}"):
        kind(data)


def test_resources_are_counted_every_so_many_epochs() -> None:
    # 3 and 5 are no powers of two; each of six weights has the bits of the widest.
    expected = {"multipliers": 2.0, "additions": 2.0, "parameter_bits": 24.0}
    # Of 1, -2, 3, 4 and 5: 1 + 1 + 2 + 1 + 3 bits times 8; 3, 2 and 2 shifted copies a column.
    expected |= {"ebops": 64.0, "adders": 4.0, "activation_bits": 16.0}
    # Columns of 2, 2 and 3 bits and signs, without the zero that -2 and 4 share.
    expected |= {"weight_bits": 20.0, "bits": 36.0}
    assert resources(graph()) == expected
    part = find("xcvu13p-flga2577-2-e")
    assert resources(graph(), part) == {**expected, "multipliers_of_dsp": 2 / 12288}
    made = []

    def counted() -> Graph:
        made.append(1)
        return graph()

    run, model = Conductor([ResourceLogger(every=3)]), Plain(graph=counted)
    for epoch in range(6):
        logs = {"epoch": float(epoch)}
        run.epoch(logs, model)
        assert logs["parameter_bits"] == resources(graph())["parameter_bits"]
    assert len(made) == 3


def test_ranges_and_saturation_are_those_of_the_values() -> None:
    limited = product(WEIGHTS, SIX)
    rows = {row.role: row for row in trace(limited, {"x": X.astype(np.int64)})}
    sums = exact(X)
    assert rows["accumulator"].observed == (sums.min(), sums.max())
    # The last column: 5 x, with x from -128 to 127; the middle one: -2 x + 4 y.
    assert rows["accumulator"].provable == (-766.0, 764.0)
    assert rows["accumulator"].saturated == 0
    codes = np.floor(sums / 8)
    assert rows["activation"].saturated == ((codes < -32) | (codes > 31)).mean()
    assert rows["activation"].observed == (-256.0, 248.0)
    assert rows["activation"].spare_bits == 0
    callback = RangeTrace(X)
    logs: dict[str, float] = {"epoch": 0.0}
    Conductor([callback]).epoch(logs, Plain(graph=lambda: limited))
    assert logs["saturated"] == rows["activation"].saturated
    assert logs["spare_bits"] > 0
    assert [row.layer for row in callback.rows] == ["x", "dense", "dense"]
