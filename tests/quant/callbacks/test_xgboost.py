"""Quantisation inside of XGBoost's training loop, on the shipped jets and on small random data."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import synth
from projects.demo.jets import load_jets
from quant.callbacks.pareto import read_index
from quant.callbacks.xgboost import (
    BitExactValidation,
    BudgetController,
    ParetoCheckpoint,
    QuantizedLeaves,
    RangeTrace,
    ResourceLogger,
    Schedule,
)
from quant.data import FeatureBins
from synth.errors import CalibrationError, ModelError, PrecisionError, SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import decode, encode
from tests.projects.models import PART

JETS = load_jets()
BINS = FeatureBins(bits=8).fit(JETS.x_train)
X, Y = BINS.transform(JETS.x_train[:4000]), JETS.y_train[:4000]
HELD_OUT, LABELS = BINS.transform(JETS.x_test[:1000]), JETS.y_test[:1000]
WIRES = BINS.wires()
CLASSES = {"objective": "multi:softprob", "num_class": 5}
BASE: dict[str, Any] = {"max_depth": 3, "eta": 0.3, "nthread": 1, "seed": 1}


def matrix(binary: bool = False) -> xgboost.DMatrix:
    return xgboost.DMatrix(X, Y == 4 if binary else Y)


def train(*callbacks: Any, rounds: int = 4, **more: Any) -> xgboost.Booster:
    parameters = {**BASE, **(more if "objective" in more else {**CLASSES, **more})}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    data = matrix(binary=parameters["objective"] != "multi:softprob")
    return xgboost.train(parameters, data, rounds, callbacks=list(callbacks), verbose_eval=False)


def document(booster: xgboost.Booster) -> Any:
    return json.loads(bytes(booster.save_raw("json")))["learner"]


def trees(booster: xgboost.Booster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(booster)["gradient_booster"]["model"]["trees"]
    return found


def leaves(tree: dict[str, Any]) -> Array:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        return np.array(tree["leaf_weights"])
    values = np.array(tree["split_conditions"])
    deleted = np.array(tree["split_indices"]) == 2**31 - 1
    return np.asarray(values[(np.array(tree["left_children"]) < 0) & ~deleted])


def splits(tree: dict[str, Any]) -> tuple[Any, ...]:
    inner = np.array(tree["left_children"]) >= 0
    return (
        tree["left_children"],
        np.array(tree["split_indices"])[inner].tolist(),
        np.array(tree["split_conditions"])[inner].tolist(),
    )


def margins(booster: xgboost.Booster, x: Array = HELD_OUT) -> Array:
    return np.asarray(booster.predict(xgboost.DMatrix(x), output_margin=True))


# The grid


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"num_parallel_tree": 2, "subsample": 0.5},
        {"multi_strategy": "multi_output_tree"},
        {"objective": "binary:logistic"},
        {"objective": "binary:logistic", "base_score": 0.1},
        {"objective": "count:poisson"},
        {"objective": "reg:squarederror", "grow_policy": "lossguide", "max_leaves": 7},
        {"objective": "reg:absoluteerror"},
        {"objective": "binary:logistic", "tree_method": "exact", "gamma": 5.0, "max_depth": 6},
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_what_xgboost_saves_is_on_the_grid(more: dict[str, Any], keep: bool) -> None:
    booster = train(QuantizedLeaves(frac=3, keep_small=keep), **more)
    assert type(booster) is xgboost.Booster
    for tree in trees(booster):
        values = leaves(tree) * 8
        np.testing.assert_array_equal(values, np.rint(values))
    # And no base besides: sums of leaves are all there is.
    sums = margins(booster) * 8
    np.testing.assert_array_equal(sums, np.rint(sums))
    assert np.abs(sums).max() > 0


def test_leaves_of_a_tree_take_the_bits_that_it_may_have() -> None:
    for tree in trees(train(QuantizedLeaves(bits=2))):
        values = np.unique(leaves(tree))
        step = np.diff(values).min() if len(values) > 1 else 1.0
        assert np.log2(step) == int(np.log2(step))
        assert (values.max() - values.min()) / step <= 3


def test_leaves_saturate_in_a_format() -> None:
    booster = train(QuantizedLeaves(leaf="fixed<3,1>"), eta=1.0)
    found = np.concatenate([leaves(tree) for tree in trees(booster)])
    assert set(found.tolist()) <= {-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75}
    free = np.concatenate([leaves(tree) for tree in trees(train(QuantizedLeaves(frac=2), eta=1.0))])
    assert free.max() > found.max() == 0.75


def test_the_base_joins_the_first_trees() -> None:
    """The grid is finer than what is lost: predictions are those of ordinary training."""
    for objective in ("binary:logistic", "count:poisson", "reg:squarederror"):
        plain = train(objective=objective, rounds=1)
        rounded = train(QuantizedLeaves(frac=20, keep_small=False), objective=objective, rounds=1)
        np.testing.assert_allclose(margins(rounded), margins(plain), rtol=0, atol=2.0**-20)


def test_small_leaves_stay_alive() -> None:
    nearest = train(QuantizedLeaves(frac=1, keep_small=False), eta=0.1, rounds=8)
    kept = train(QuantizedLeaves(frac=1), eta=0.1, rounds=8)
    assert not any(leaves(tree).any() for tree in trees(nearest)[5:])
    right = {b: np.mean(margins(b).argmax(1) == LABELS) for b in (nearest, kept)}
    assert right[kept] > right[nearest] + 0.2


# The loop


@pytest.mark.parametrize(
    "more",
    [
        {"lambda": 3.0, "alpha": 0.5, "max_depth": 4},
        {"grow_policy": "lossguide", "max_leaves": 6, "max_depth": 0},
        {"tree_method": "approx", "min_child_weight": 3.0},
        {"tree_method": "exact", "scale_pos_weight": 2.0},
    ],
)
def test_parameters_of_training_go_on(more: dict[str, Any]) -> None:
    """On a grid finer than float32 nothing is rounded, so the training is the ordinary one."""
    settings = {"objective": "binary:logistic", "base_score": 0.5, **more}
    plain = train(rounds=5, **settings)
    rounded = train(QuantizedLeaves(frac=60, keep_small=False), rounds=5, **settings)
    assert trees(rounded) == trees(plain)


@pytest.mark.parametrize(
    "more",
    [
        {"subsample": 0.3},
        {"subsample": 0.3, "seed_per_iteration": True},
        {"colsample_bynode": 0.4},
        {"colsample_bytree": 0.4},
    ],
)
def test_each_round_samples_anew_and_reproducibly(more: dict[str, Any]) -> None:
    """All leaves round to zero, so every round fits the same gradients to its own sample."""

    def run() -> list[Any]:
        coarse = QuantizedLeaves(frac=-10, keep_small=False)
        return [splits(t) for t in trees(train(coarse, objective="binary:logistic", **more))]

    first = run()
    assert run() == first
    assert all(one != other for i, one in enumerate(first) for other in first[:i])


@pytest.mark.parametrize("binary", [False, True])
def test_gradients_see_the_rounded_leaves(binary: bool) -> None:
    """The second tree is the one that ordinary training fits to the rounded first one's margins."""
    objective = {"objective": "binary:logistic"} if binary else CLASSES
    first = train(QuantizedLeaves(frac=1, keep_small=False), rounds=1, **objective)
    both = train(QuantizedLeaves(frac=1, keep_small=False), rounds=2, **objective)
    data = matrix(binary)
    data.set_base_margin(margins(first, X))
    alone = xgboost.train({**BASE, **objective}, data, 1)
    second = trees(both)[len(trees(first)) :]
    assert [splits(tree) for tree in second] == [splits(tree) for tree in trees(alone)]
    for rounded, fitted in zip(second, trees(alone), strict=True):
        np.testing.assert_array_equal(leaves(rounded), np.rint(leaves(fitted) * 2) / 2)
    # The unrounded first tree would have led elsewhere.
    plain = trees(train(rounds=2, **objective))[len(trees(first)) :]
    assert [splits(tree) for tree in second] != [splits(tree) for tree in plain]


def test_evaluations_are_those_of_the_saved_booster() -> None:
    held_out = xgboost.DMatrix(HELD_OUT, LABELS)
    log: dict[str, Any] = {}
    booster = xgboost.train(
        {**BASE, **CLASSES, "eval_metric": ["merror", "mlogloss"]},
        matrix(),
        3,
        evals=[(matrix(), "train"), (held_out, "valid")],
        callbacks=[QuantizedLeaves(frac=1)],
        evals_result=log,
        verbose_eval=False,
    )
    for rounds in (1, 2, 3):
        reported = booster[:rounds].eval(held_out)
        for metric in ("merror", "mlogloss"):
            value = float(reported.split(f"{metric}:")[1].split()[0])
            assert log["valid"][metric][rounds - 1] == pytest.approx(value, abs=1e-6)


def test_early_stopping_watches_the_data_and_not_our_figures() -> None:
    held_out = xgboost.DMatrix(HELD_OUT, LABELS)
    log: dict[str, Any] = {}
    booster = xgboost.train(
        {**BASE, **CLASSES, "eta": 1.0, "max_depth": 6},
        matrix(),
        40,
        evals=[(held_out, "valid")],
        early_stopping_rounds=3,
        callbacks=[QuantizedLeaves(frac=2), ResourceLogger(inputs=WIRES)],
        evals_result=log,
        verbose_eval=False,
    )
    losses = log["valid"]["mlogloss"]
    assert len(losses) < 40
    assert booster.best_iteration == int(np.argmin(losses))


def test_the_wrappers_and_cross_validation_take_it() -> None:
    model = xgboost.XGBClassifier(
        n_estimators=3, max_depth=3, n_jobs=1, callbacks=[QuantizedLeaves(frac=2)]
    ).fit(X, Y)
    values = np.concatenate([leaves(tree) for tree in trees(model.get_booster())])
    np.testing.assert_array_equal(values, np.rint(values * 4) / 4)
    result = xgboost.cv(
        {**BASE, **CLASSES}, matrix(), 3, nfold=2, callbacks=[QuantizedLeaves(frac=2)]
    )
    assert len(result) == 3


def test_training_goes_on_from_a_rounded_model() -> None:
    whole = train(QuantizedLeaves(frac=2), rounds=4)
    half = train(QuantizedLeaves(frac=2), rounds=2)
    parameters = {**BASE, **CLASSES}
    rest = xgboost.train(
        parameters, matrix(), 2, xgb_model=half, callbacks=[QuantizedLeaves(frac=2)]
    )
    assert trees(rest) == trees(whole)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "0 are given"),
        ({"frac": 2, "bits": 3}, "2 are given"),
        ({"frac": 2.5}, "frac must be a whole number from -24 to 126, not 2.5"),
        ({"bits": 0}, "bits must be a whole number from 1 to 24, not 0"),
    ],
)
def test_a_grid_is_named_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        QuantizedLeaves(**arguments)


def test_a_leaf_format_fits_in_float32() -> None:
    with pytest.raises(PrecisionError, match="must be one format of at most 24 bits"):
        QuantizedLeaves(leaf="fixed<32,8>")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"booster": "dart"}, "booster='dart' does not sum leaves as they are saved"),
        (
            {"booster": "gblinear", "max_depth": None, "objective": "binary:logistic"},
            "booster='gblinear' does not sum leaves",
        ),
    ],
)
def test_boosters_whose_leaves_would_change_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        train(QuantizedLeaves(frac=2), **more)


@pytest.mark.filterwarnings("ignore:.*You have manually specified the `updater`")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_trees_that_are_only_refreshed_are_refused() -> None:
    first = train(QuantizedLeaves(frac=2), rounds=1)
    refresh = {**BASE, **CLASSES, "process_type": "update", "updater": "refresh"}
    with pytest.raises(ModelError, match="updater='refresh' changes trees that are there already"):
        xgboost.train(refresh, matrix(), 1, xgb_model=first, callbacks=[QuantizedLeaves(frac=2)])


def test_a_model_off_the_grid_cannot_be_gone_on_from() -> None:
    plain = train(rounds=1)
    with pytest.raises(ModelError, match=r"tree 0 of the model .* has a leaf off the grid"):
        xgboost.train(
            {**BASE, **CLASSES}, matrix(), 1, xgb_model=plain, callbacks=[QuantizedLeaves(2)]
        )


def test_base_margins_are_refused() -> None:
    data = matrix(binary=True)
    data.set_base_margin(np.ones(len(Y)))
    with pytest.raises(ModelError, match="the training data have a base margin"):
        xgboost.train(
            {**BASE, "objective": "binary:logistic"}, data, 1, callbacks=[QuantizedLeaves(frac=2)]
        )


def test_two_of_them_are_refused() -> None:
    with pytest.raises(SettingsError, match="QuantizedLeaves is given twice"):
        train(QuantizedLeaves(frac=2), QuantizedLeaves(frac=3))


# Validation


@pytest.mark.parametrize("grid", [{"frac": 2}, {"bits": 3}, {"leaf": "fixed<5,3>"}])
@pytest.mark.parametrize("objective", [CLASSES, {"objective": "binary:logistic"}])
def test_margins_equal_the_integer_forest_bit_for_bit(
    grid: dict[str, Any], objective: dict[str, Any]
) -> None:
    validation = BitExactValidation(HELD_OUT, inputs=WIRES)
    booster = train(QuantizedLeaves(**grid), validation, rounds=3, **objective)
    outputs = 5 if "num_class" in objective else 1
    assert (validation.mismatch, validation.compared) == (None, 3 * 1000 * outputs)
    # The same through the public way, from the file that XGBoost saved.
    graph = synth.integer_model(
        bytes(booster.save_raw("ubj")),
        inputs=WIRES,
        precision={"leaf": "fixed<24,8>", "default": "fixed<24,8>"},
        output="margin",
    ).graph
    (x,), (score,) = graph.inputs, graph.outputs
    codes = Evaluator(graph)({x: encode(HELD_OUT, graph.codes(x).format)})[score]
    found = decode(codes, graph.codes(score).format).reshape(margins(booster).shape)
    np.testing.assert_array_equal(found, margins(booster))


def test_training_ends_at_the_first_mismatch_and_names_the_tree() -> None:
    """Without QuantizedLeaves the leaves of the firmware are not those that were trained."""
    validation = BitExactValidation(HELD_OUT, inputs=WIRES, leaf="fixed<6,3>")
    words = r"sample 0 .* output 'trees' \[0\].* part at the tree of round 0 for output 0"
    with pytest.warns(UserWarning, match=words):
        booster = train(validation, rounds=4)
    assert booster.num_boosted_rounds() == 1
    assert validation.mismatch is not None
    assert validation.mismatch.sample == 0
    assert validation.mismatch.framework == float(margins(booster)[0, 0])


def test_a_later_round_is_named() -> None:
    class Spoil(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            model.rounding.grid = type(model.rounding.grid)(9)
            return False

    validation = BitExactValidation(HELD_OUT, every=3, inputs=WIRES, leaf="fixed<6,4>")
    with pytest.warns(UserWarning, match=r"they part at the tree of round 1 for output \d"):
        train(QuantizedLeaves(frac=2), Spoil(), validation, rounds=4)


def test_validation_says_what_is_not_comparable() -> None:
    with pytest.raises(PrecisionError, match="no common grid on which XGBoost's float32 sums"):
        train(BitExactValidation(HELD_OUT, inputs=WIRES))
    raw = JETS.x_test[:100]
    with pytest.raises(CalibrationError, match="which is no value of input 'x'"):
        train(QuantizedLeaves(frac=2), BitExactValidation(raw, inputs=WIRES))
    with pytest.raises(ShapeError, match=r"has the shape \(1000, 3\); input 'x' takes"):
        train(QuantizedLeaves(frac=2), BitExactValidation(HELD_OUT[:, :3], inputs=WIRES))
    with pytest.raises(SettingsError, match="every must be a whole number of epochs from 1"):
        BitExactValidation(HELD_OUT, every=0, inputs=WIRES)
    with pytest.raises(SettingsError, match=r"follows one booster, and xgboost\.cv trains several"):
        xgboost.cv(
            {**BASE, **CLASSES},
            matrix(),
            1,
            nfold=2,
            callbacks=[BitExactValidation(HELD_OUT, inputs=WIRES)],
        )


def test_a_project_of_the_saved_booster_computes_its_margins(tmp_path: Path) -> None:
    booster = train(QuantizedLeaves(frac=2), rounds=5, eta=0.1)
    booster.save_model(tmp_path / "tagger.ubj")
    project = synth.convert(
        tmp_path / "tagger.ubj",
        part=PART,
        output_dir=tmp_path / "project",
        inputs=WIRES,
        precision={"leaf": "fixed<8,6>"},
        output="margin",
    )
    np.testing.assert_array_equal(project.predict(HELD_OUT), margins(booster))


# Figures, knobs, checkpoints


def test_resources_stand_in_the_log() -> None:
    log: dict[str, Any] = {}
    booster = xgboost.train(
        {**BASE, **CLASSES},
        matrix(),
        3,
        callbacks=[
            QuantizedLeaves(leaf="fixed<4,2>"),
            ResourceLogger(inputs=WIRES),
            RangeTrace(HELD_OUT, inputs=WIRES),
        ],
        evals_result=log,
        verbose_eval=False,
    )
    figures = log["synth"]
    split = [
        (feature, step)
        for tree in trees(booster)
        for feature, step in zip(splits(tree)[1], splits(tree)[2], strict=True)
    ]
    # Trees whose leaves are all equal join the base, and their comparators are gone.
    constant = sum(len(set(leaves(tree).tolist())) == 1 for tree in trees(booster))
    assert constant == 0
    assert figures["nodes"] == sorted(figures["nodes"])
    assert figures["keys"][-1] == len(set(split))
    assert figures["nodes"][-1] == len(split)
    assert figures["trees"] == [5, 10, 15]
    assert max(figures["leaf_bits"]) <= 4
    assert figures["saturated"] == [0, 0, 0]
    assert len(figures["spare_bits"]) == 3


def test_a_budget_turns_a_parameter() -> None:
    log: dict[str, Any] = {}
    xgboost.train(
        {**BASE, **CLASSES, "gamma": 0.5},
        matrix(),
        5,
        callbacks=[
            QuantizedLeaves(frac=2),
            ResourceLogger(inputs=WIRES),
            BudgetController({"keys": 20}, "gamma", limits=(0.1, 100.0)),
        ],
        evals_result=log,
        verbose_eval=False,
    )
    turned = log["synth"]["budget_gamma"]
    assert turned == sorted(turned)
    assert turned[-1] > 5 * turned[0]
    free = train(QuantizedLeaves(frac=2), gamma=0.5, rounds=5)
    assert log["synth"]["nodes"][-1] < sum(len(splits(tree)[1]) for tree in trees(free))


def test_a_schedule_sets_the_learning_rate_that_small_leaves_are_kept_by() -> None:
    log: dict[str, Any] = {}
    xgboost.train(
        {**BASE, **CLASSES},
        matrix(),
        3,
        callbacks=[QuantizedLeaves(frac=2), Schedule({0: 0.4, 2: 0.1}, "eta", "log")],
        evals_result=log,
    )
    np.testing.assert_allclose(log["synth"]["eta"], [0.4, 0.2, 0.1])


def test_two_controllers_of_one_knob_are_refused() -> None:
    with pytest.raises(SettingsError, match="both drive the knob 'gamma'"):
        train(
            BudgetController({"keys": 20}, "gamma", limits=(0.1, 10)),
            Schedule({0: 0.1}, "gamma"),
            gamma=1.0,
        )
    with pytest.raises(SettingsError, match=r"the model has no knob 'beta'; it has .*gamma"):
        train(Schedule({0: 0.1}, "beta"))


def test_the_front_of_a_training_converts(tmp_path: Path) -> None:
    folder = tmp_path / "front"
    xgboost.train(
        {**BASE, **CLASSES, "eval_metric": "merror"},
        matrix(),
        4,
        evals=[(xgboost.DMatrix(HELD_OUT, LABELS), "valid")],
        callbacks=[
            QuantizedLeaves(frac=2),
            ResourceLogger(inputs=WIRES),
            ParetoCheckpoint({"valid-merror": "min", "keys": "min"}, folder),
        ],
        verbose_eval=False,
    )
    points = read_index(folder)
    assert {p.path.name for p in points} == {p.name for p in folder.iterdir()} - {"pareto.json"}
    assert len(points) > 1
    for point in points:
        graph = synth.integer_model(
            point.path, inputs=WIRES, precision="fixed<16,6>", output="margin"
        ).graph
        assert graph.outputs == ("score",)
        wrong = np.mean(margins(xgboost.Booster(model_file=point.path)).argmax(1) != LABELS)
        assert wrong == pytest.approx(point.metrics["valid-merror"])


def test_without_xgboost_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['xgboost'] = None\n"
        "try:\n    import quant.callbacks.xgboost\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("MissingPackage quant.callbacks.xgboost_trees needs")
    assert "pip install 'synth[xgboost]'" in done.stdout
