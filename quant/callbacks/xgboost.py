"""Callbacks for `xgboost.train` and its scikit-learn wrappers.

::

    bins = FeatureBins(bits=8).fit(x_train)
    data = xgboost.DMatrix(bins.transform(x_train), y_train)
    booster = xgboost.train(params, data, 50, callbacks=[
        QuantizedLeaves(frac=2),
        BitExactValidation(bins.transform(x_valid), inputs=bins.wires()),
        ResourceLogger(inputs=bins.wires()),
    ])
    synth.convert(booster, inputs=bins.wires(), ...)

What XGBoost 3 does when a booster changes between two rounds: its leaves can only be changed by
loading the model again, and `Booster.load_model` drops all cached predictions, so the gradients of
the next round see the changed leaves; but it also resets the parameters of training (depth,
regularisation, learning rate) to their defaults, so the configuration has to be loaded again too.
Rows and columns are sampled with other random numbers than without callbacks, as reproducibly.
"""

import warnings
from collections import ChainMap, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import synth
from quant.callbacks import budget, checking, core, pareto, ranges, schedules
from quant.callbacks.leaves import Grid, grid_of
from quant.callbacks.xgboost_trees import (
    check_resumed,
    check_trainable,
    drop_base,
    parameters,
    round_newest,
)
from quant.forests import forest_of
from synth.errors import MissingPackage, ModelError, PrecisionError, SettingsError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Fixed, decode
from synth.ir import Graph
from synth.ir.forest import Forest
from synth.ir.ops import Trees

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "xgboost", "xgboost") from error

__all__ = [
    "BitExactValidation",
    "BudgetController",
    "ParetoCheckpoint",
    "QuantizedLeaves",
    "RangeTrace",
    "ResourceLogger",
    "Schedule",
]

OURS = "synth"
"""The data set under which our figures stand in XGBoost's log of evaluations."""


# Leaves


class QuantizedLeaves(xgboost.callback.TrainingCallback):
    """Rounds the leaves of each round's trees before the next round is fitted.

    So a round fits what the rounded trees have left, evaluations and early stopping see the rounded
    ensemble, and the booster that XGBoost saves is on the grid. The base score, which no grid
    holds, joins the leaves of the first trees. Exactly one grid is given.

    Parameters
    ----------
    frac
        Fraction bits of all leaves: multiples of ``2**-frac``.
    bits
        Instead: in each tree, the finest power of two with which so many bits number its leaves.
    leaf
        Instead: one format such as "fixed<6,4>", in which leaves saturate.
    keep_small
        A leaf that would round to zero remains one LSB where its full step, without the learning
        rate, is at least half an LSB. That lowers the objective's quadratic model, and without it a
        coarse grid ends the training: every later leaf is below half an LSB. False rounds to
        nearest throughout.

    Raises
    ------
    SettingsError
        None or several grids are given, or a number is out of range.
    ModelError
        When training begins: DART or gblinear, or a model to go on from that is off the grid; in a
        round: data with a base margin of its own.
    """

    def __init__(
        self,
        frac: int | None = None,
        *,
        bits: int | None = None,
        leaf: Any = None,
        keep_small: bool = True,
    ) -> None:
        super().__init__()
        self.grid: Grid = grid_of(frac, bits, leaf)
        self.keep_small = keep_small

    def before_training(self, model: Any) -> Any:
        """Let the booster round its leaves behind each update, before it is evaluated."""
        for booster in _boosters(model):
            if type(booster) is not xgboost.Booster:
                raise SettingsError(
                    "QuantizedLeaves is given twice, or beside another callback that replaces the "
                    f"booster ({type(booster).__name__}): leave one out"
                )
            check_trainable(booster, "QuantizedLeaves")
            if booster.num_boosted_rounds():
                check_resumed(booster, self.grid)
            _let_round(booster, self)
        return model

    def after_training(self, model: Any) -> Any:
        """Return an ordinary booster."""
        for booster in _boosters(model):
            if isinstance(booster, _RoundingBooster):
                _let_be(booster)
        return model

    def round(self, booster: Any) -> None:
        """Round the leaves of the newest round."""
        first = booster.num_boosted_rounds() == 1
        base = drop_base(booster) if first else None
        round_newest(booster, self.grid, keep=self.keep_small, base=base)


class _RoundingBooster(xgboost.Booster):
    """A booster in training whose newest leaves are rounded as part of each update.

    A callback's `after_iteration` comes too late: XGBoost evaluates before it.
    """

    rounding: QuantizedLeaves

    def update(self, dtrain: Any, iteration: int, fobj: Any = None) -> None:
        if dtrain.get_base_margin().size:
            raise ModelError(
                "QuantizedLeaves: the training data have a base margin, which takes the place of "
                "the base score that is to join the leaves: train without it"
            )
        super().update(dtrain, iteration, fobj)
        self.rounding.round(self)


def _let_round(booster: Any, rounding: QuantizedLeaves) -> None:
    booster.__class__ = _RoundingBooster
    booster.rounding = rounding


def _let_be(booster: Any) -> None:
    booster.__class__ = xgboost.Booster
    del booster.rounding


def _boosters(model: Any) -> list[Any]:
    """Return the boosters in training: one, or one a fold of `xgboost.cv`."""
    if hasattr(model, "cvfolds"):
        return [fold.bst for fold in model.cvfolds]
    return [model]


# The core's callbacks


class _Booster:
    """A booster as the core sees it (`core.Trainee`).

    Parameters
    ----------
    booster
        In training.
    inputs
        Wires of the features, as `synth.convert` takes them.
    leaf
        Format of the leaves; None for the one that holds them all as they are.
    """

    suffix = ".ubj"

    def __init__(self, booster: Any, inputs: Any, leaf: Any) -> None:
        self.identity = booster
        self._inputs, self._leaf = inputs, leaf

    def knobs(self) -> Mapping[str, float]:
        """Return the numbers that trees are grown with: "gamma", "max_depth" and so on."""
        found = {}
        for name, text in parameters(self.identity).items():
            try:
                found[name] = float(text)
            except ValueError:  # words, and lists
                continue
        return found

    def turn(self, knob: str, value: float) -> None:
        """Set a parameter from the next round on."""
        whole = knob in _WHOLE
        self.identity.set_param(knob, round(value) if whole else value)

    def integer_graph(self) -> Graph:
        """Return the typed graph of the sums of leaves, without what follows them."""
        return self._integers(self.identity)

    def encode(self, graph: Graph, x: Array) -> Mapping[str, Array]:
        """Return features as codes; what is off their grid is refused."""
        return checking.encoded(graph, x)

    def outputs(self, graph: Graph, x: Array) -> Mapping[str, Array]:
        """Return the booster's margins."""
        (name,) = graph.outputs
        return {name: _margins(self.identity, x, graph.types[name].shape)}

    def locate(self, row: Array) -> str:
        """Name the first tree whose leaf differs on a row."""
        for number in range(self.identity.num_boosted_rounds()):
            alone = self.identity[number]
            graph = self._integers(alone)
            (name,) = graph.outputs
            own = _margins(alone, row, graph.types[name].shape)
            codes = Evaluator(graph)(self.encode(graph, row))[name]
            differ = decode(codes, graph.codes(name).format) != own
            if differ.any():
                output = int(np.argwhere(differ)[0][1])
                return f"the tree of round {number} for output {output}"
        return "no tree by itself, but in the sum of all"

    def save(self, path: Path) -> None:
        """Save the booster by XGBoost itself."""
        self.identity.save_model(path)

    def _integers(self, booster: Any) -> Graph:
        imported = _sums_only(synth.load_graph(booster))
        forest = forest_of(imported, imported.nodes[0])
        leaf = _exact_format(forest) if self._leaf is None else self._leaf
        made = synth.integer_model(imported, inputs=self._inputs, precision={"leaf": leaf})
        return made.graph


_WHOLE = frozenset({"max_depth", "max_leaves", "max_bin"})
"""Parameters that count."""


def _margins(booster: Any, x: Array, shape: tuple[int, ...]) -> Array:
    x = np.ascontiguousarray(x, np.float32)
    found = booster.inplace_predict(x, predict_type="margin", validate_features=False)
    return np.asarray(found).reshape(len(x), *shape)


def _sums_only(graph: Graph) -> Graph:
    """Return an imported graph with its trees for the only node."""
    (node,) = (node for node in graph.nodes if isinstance(node.op, Trees))
    return replace(graph, nodes=(node,), outputs=(node.output,))


def _exact_format(forest: Forest) -> Fixed:
    """Return the narrowest format that holds all leaves as they are.

    Raises
    ------
    PrecisionError
        The sums of leaves would not be exact in XGBoost's float32.
    """
    values = np.concatenate([forest.leaves.ravel(), forest.base]).astype(np.float64)
    mantissa, exponent = np.frexp(values[values != 0])
    odd = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
    frac = int((_MANTISSA - exponent - _trailing_zeros(odd)).max(initial=0))
    least, most = (np.ldexp(end.astype(np.float64), frac) for end in forest.extremes())
    largest = np.maximum(-least, most).clip(0).sum() + np.abs(np.ldexp(forest.base, frac)).max()
    if largest >= 2.0**_MANTISSA:
        worst = values[np.ldexp(values, frac) % 2 != 0][0]
        raise PrecisionError(
            f"the leaves have no common grid on which XGBoost's float32 sums are exact (one is "
            f"{worst!r}): train with QuantizedLeaves(frac=...), or give the format of the "
            "firmware's leaves, leaf='fixed<8,3>', to compare with that"
        )
    return Fixed.containing(int(least.min()), int(most.max()), frac)


_MANTISSA = 24
"""Bits of a float32."""


def _trailing_zeros(values: Array) -> Array:
    lowest = (values & -values).astype(np.float64)
    return np.frexp(lowest)[1] - 1


class _Hosted(xgboost.callback.TrainingCallback):
    """One callback of the core in XGBoost's training.

    Figures stand under the data set "synth" of the log. A training that must end is told why by a
    warning, and ends as early stopping ends it.
    """

    def __init__(self, callback: core.Callback, *, inputs: Any = None, leaf: Any = None) -> None:
        super().__init__()
        self.callback = callback
        self._conductor = core.Conductor([callback])
        self._inputs, self._leaf = inputs, leaf

    def __getattr__(self, name: str) -> Any:
        if name == "callback":
            raise AttributeError(name)
        return getattr(self.callback, name)

    def before_training(self, model: Any) -> Any:
        """Claim knobs and set them."""
        if hasattr(model, "cvfolds"):
            raise SettingsError(
                f"{type(self).__name__} follows one booster, and xgboost.cv trains several: use "
                "it with xgboost.train"
            )
        self._conductor.start(self._trainee(model))
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Set the knobs of the round."""
        self._conductor.begin(self._trainee(model))
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Let the callback act behind a round."""
        added: dict[str, float] = {}
        logs = ChainMap(added, {"epoch": float(epoch), **_last(evals_log)})
        stop = self._conductor.epoch(logs, self._trainee(model))
        _store(evals_log, added)
        if stop is not None:
            warnings.warn(stop.reason, UserWarning, stacklevel=2)
        return stop is not None

    def _trainee(self, model: Any) -> _Booster:
        return _Booster(model, self._inputs, self._leaf)


def _last(evals_log: Any) -> dict[str, float]:
    """Return the last figures of the log: "valid-mlogloss", and ours by their own names."""
    return {
        name if data == OURS else f"{data}-{name}": values[-1]
        for data, metrics in evals_log.items()
        for name, values in metrics.items()
    }


def _store(evals_log: Any, figures: Mapping[str, float]) -> None:
    if not figures:
        return
    ours = evals_log.setdefault(OURS, OrderedDict())
    for name, value in figures.items():
        ours.setdefault(name, []).append(value)
    # Early stopping watches the last data set unless it is told otherwise.
    if isinstance(evals_log, OrderedDict):
        evals_log.move_to_end(OURS, last=False)


class BitExactValidation(_Hosted):
    """Compares the margins of the booster with the integer forest, bit for bit.

    Comparable are features that are values of their wires (`FeatureBins.transform` makes them) and
    leaves on a grid on which float32 adds exactly (`QuantizedLeaves` makes them). There the two are
    equal in every bit, or training ends; `mismatch` names the sample and the tree.

    Parameters
    ----------
    x
        [rows, features], binned.
    inputs
        Wires of the features, as `synth.convert` takes them.
    every
        Rounds from one comparison to the next.
    leaf
        The format that the firmware will have for leaves; by default the narrowest that holds them.
    """

    def __init__(self, x: Any, every: int = 1, *, inputs: Any, leaf: Any = None) -> None:
        super().__init__(checking.BitExactValidation(x, every), inputs=inputs, leaf=leaf)


class ResourceLogger(_Hosted):
    """Logs "keys", "comparators", "nodes", "trees" and "leaf_bits" of the integer forest.

    Parameters
    ----------
    part
        The device's full order code, if costs are to be set against what it has.
    every
        Rounds from one count to the next.
    inputs, leaf
        As for `BitExactValidation`.
    """

    def __init__(
        self, part: str | None = None, every: int = 1, *, inputs: Any, leaf: Any = None
    ) -> None:
        super().__init__(checking.ResourceLogger(part, every), inputs=inputs, leaf=leaf)


class RangeTrace(_Hosted):
    """Logs ranges and saturation of the integer forest; see `ranges.RangeTrace`.

    Parameters
    ----------
    x, every
        As there.
    inputs, leaf
        As for `BitExactValidation`.
    """

    def __init__(self, x: Any, every: int = 1, *, inputs: Any, leaf: Any = None) -> None:
        super().__init__(ranges.RangeTrace(x, every), inputs=inputs, leaf=leaf)


class BudgetController(_Hosted):
    """Turns a parameter such as "gamma" so that training ends on a budget.

    See `budget.BudgetController` for the arguments. Costs come from a `ResourceLogger` before it.
    """

    def __init__(self, target: Mapping[str, float], knob: str, **settings: Any) -> None:
        super().__init__(budget.BudgetController(target, knob, **settings))


class Schedule(_Hosted):
    """Turns a parameter such as "learning_rate" along points; see `schedules.Schedule`."""

    def __init__(self, points: Mapping[int, float], knob: str, kind: str = "linear") -> None:
        super().__init__(schedules.Schedule(points, knob, kind))


class ParetoCheckpoint(_Hosted):
    """Saves every round that none other beats; see `pareto.ParetoCheckpoint`."""

    def __init__(self, metrics: Mapping[str, str], folder: Any) -> None:
        super().__init__(pareto.ParetoCheckpoint(metrics, folder))
