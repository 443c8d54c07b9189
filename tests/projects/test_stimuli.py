import numpy as np

from projects.stimuli import stimuli
from synth.evaluate import evaluate
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.forest import Forest
from synth.ir.ops import Cast, Mul, Trees
from tests.forests import add_forest


def one_cast(input_type: Fixed | FixedArray, target: Fixed) -> Graph:
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((3,), input_type))
    return build.graph([build.add(Cast(Format(target, Round.RND, Overflow.SAT)), x, name="y")])


BYTE = Fixed(signed=True, width=8, frac=4)


def rows(codes: Array) -> set[tuple[int, ...]]:
    return {tuple(int(c) for c in row) for row in codes}


def test_extremes_and_zeros_are_there() -> None:
    codes = stimuli(one_cast(BYTE, BYTE), 50)["x"]
    assert codes.shape == (50, 3)
    assert {(0,) * 3, (127,) * 3, (-128,) * 3, (1,) * 3, (-1,) * 3} <= rows(codes)
    assert {(127, -128, 127), (-128, 127, -128)} <= rows(codes)


def test_every_element_has_its_own_format() -> None:
    formats = FixedArray.stack([BYTE, Fixed(signed=False, width=2, frac=0), BYTE])
    codes = stimuli(one_cast(formats, BYTE), 40)["x"]
    assert {(127, 3, 127), (-128, 0, -128)} <= rows(codes)
    assert codes[:, 1].min() == 0
    assert codes[:, 1].max() == 3


def test_ties_and_overflows_are_searched_for() -> None:
    # A product with many fractional bits: few random events are ties.
    build = Builder("g", Stage.TYPED)
    kind = Codes.full((1,), Fixed(signed=True, width=12, frac=6))
    product_of = [build.input(name, kind) for name in ("x", "y")]
    product = build.add(Mul(), *product_of, name="product")
    target = Format(Fixed(signed=True, width=16, frac=7), Round.RND_CONV, Overflow.SAT)
    graph = build.graph([build.add(Cast(target), product, name="z")])
    codes = stimuli(graph, 40, seed=4)
    codes_of = evaluate(graph, codes, ["product"])["product"]
    shift = graph.codes("product").frac - 7
    floor, rest = codes_of >> shift, codes_of & ((1 << shift) - 1)
    tie = rest == 1 << (shift - 1)
    assert (tie & (floor % 2 == 0)).any()
    assert (tie & (floor % 2 == 1)).any()
    assert (floor > 32767).any()
    assert (floor < -32768).any()


def test_the_same_seed_gives_the_same_codes() -> None:
    graph = one_cast(BYTE, BYTE)
    first, again, other = (stimuli(graph, 30, seed)["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_any_number_of_events() -> None:
    graph = one_cast(BYTE, BYTE)
    assert [len(stimuli(graph, n)["x"]) for n in (1, 5, 11, 12, 300)] == [1, 5, 11, 12, 300]


def test_wide_inputs_stay_within_their_format() -> None:
    wide = Fixed(signed=True, width=90, frac=10)
    codes = stimuli(one_cast(wide, BYTE), 60)["x"]
    assert codes.dtype == object
    assert codes.min() == wide.min
    assert codes.max() == wide.max
    unsigned = Fixed(signed=False, width=63, frac=0)
    assert stimuli(one_cast(unsigned, BYTE), 60)["x"].min() == 0


def test_features_of_trees_lie_next_to_each_step() -> None:
    """Steps on a grid of 1/16, of which features have 1/16, 1/4 and 1/64."""
    fracs = (4, 2, 6)
    formats = FixedArray.stack([Fixed(signed=True, width=10, frac=frac) for frac in fracs])
    steps = np.array([-37, 5, 80])
    keys = np.array([[0, 1, 0], [1, 2, 0], [2, 3, 0]])
    nodes = np.array([[0, ~0, 1], [1, ~1, 2], [2, ~2, ~3]])
    forest = Forest(steps, keys, nodes, np.arange(4)[:, None], np.array([[3, 0]]), np.zeros(1, int))
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((3,), formats))
    operands = add_forest(build, forest, steps=4, leaves=0, base=0)
    graph = build.graph([build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))])
    codes = stimuli(graph, 100)["x"]
    for feature, (step, frac) in enumerate(zip(steps, fracs, strict=True)):
        passed = int(np.ceil(step / 16 * 2**frac))
        for wanted in (passed - 1, passed):
            assert (codes[:, feature] == wanted).sum() > 3
    assert codes.min() >= -512
    assert codes.max() <= 511
