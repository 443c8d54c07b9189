"""TMVA's weight files: as its reader scores them, and as XGBoost scores what was converted.

ROOT is no package that tests can install with TMVA in it, so the oracle is `tests.bdt.slow_readers`
and, for the files that converters write, XGBoost itself.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import xgboost

from bdt.ensemble import Ensemble, Post
from bdt.load.tmva import from_bytes, recognises
from bdt.predict import find_leaves, margin, predict
from synth.errors import FormatError, ModelError
from synth.exact import Array
from tests.bdt.slow_readers import tmva_scores

FEATURES = 5
CUTS = ["0.1", "-1.25", "3.0000000000000000e+00", "2.4999999e-01", "     4.160322E-03", "0"]
"""Exact in float32 or not, in the ways that TMVA and converters print them."""


def node(random: np.random.Generator, depth: int, pos: str = "s", *, events: bool = False) -> str:
    """Return a random node; with `events`, as before TMVA 4.1: without purity and NCoef."""
    inner = depth > 0 and (pos == "s" or random.random() < 0.8)
    signal, background = random.random(2) * 100
    held = f'nS="{signal}" nB="{background}"' if events else f'NCoef="0" purity="{signal / 100}"'
    text = (
        f'<Node pos="{pos}" depth="{depth}" {held} IVar="{random.integers(FEATURES)}" '
        f'Cut="{random.choice(CUTS)}" cType="{random.integers(2)}" '
        f'res="{random.normal():.16e}" rms="0" nType="{0 if inner else random.choice([-1, 1])}">'
    )
    below = [node(random, depth - 1, side, events=events) for side in "lr"] if inner else []
    random.shuffle(below)
    return text + "".join(below) + "</Node>"


def weight_file(
    trees: Sequence[str],
    *,
    kind: str = "Classification",
    options: str = "",
    tree_type: str = 'AnalysisType="1"',
    names: Sequence[str] = "abcde",
    classes: int = 2,
    extra: str = "",
    method: str = "BDT::BDTG",
) -> bytes:
    """Return a weight file; trees come with their element BinaryTree."""
    given = "".join(
        f'<Option name="{name}" modified="Yes">{value}</Option>'
        for name, _, value in (option.partition("=") for option in options.split(":"))
        if name
    )
    variables = "".join(
        f'<Variable VarIndex="{i}" Expression="{name}" Label="{name}" Type="F"/>'
        for i, name in enumerate(names)
    )
    listed = "".join(f'<Class Name="c{i}" Index="{i}"/>' for i in range(classes))
    return (
        f'<?xml version="1.0"?>\n<MethodSetup Method="{method}">\n'
        f'<GeneralInfo><Info name="Creator" value="test"/><Info name="AnalysisType" '
        f'value="{kind}"/></GeneralInfo><Options>{given}</Options>'
        f'<Variables NVar="{len(names)}">{variables}</Variables>'
        '<Spectators NSpec="1"><Spectator SpecIndex="0" Expression="abs(eta)"/></Spectators>'
        f'<Classes NClass="{classes}">{listed}</Classes>{extra}'
        f'<Weights NTrees="{len(trees)}" {tree_type}>{"".join(trees)}</Weights></MethodSetup>\n'
    ).encode()


def binary_tree(root: str, weight: float = 1.0) -> str:
    return f'<BinaryTree type="DecisionTree" boostWeight="{weight:.16e}">{root}</BinaryTree>'


def forest(seed: int, count: int = 12, *, events: bool = False) -> list[str]:
    random = np.random.default_rng(seed)
    return [
        binary_tree(node(random, 4, events=events), random.uniform(0.1, 2)) for _ in range(count)
    ]


def rows(seed: int, count: int = 10_000) -> Array:
    """Return rows of which many features are a cut, or its neighbour in float32."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, FEATURES)).astype(np.float32)
    cuts = np.array([float(cut) for cut in CUTS]).astype(np.float32)
    near = np.concatenate([cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)])
    tied = random.random(x.shape) < 0.6
    return np.where(tied, random.choice(near.astype(np.float32), x.shape), x)


VARIANTS = {
    "gradient": ("Classification", "BoostType=Grad", 'AnalysisType="1"'),
    "gradient, trees of classification": ("Classification", "BoostType=Grad", 'AnalysisType="0"'),
    "votes": ("Classification", "BoostType=AdaBoost:UseYesNoLeaf=True", 'AnalysisType="0"'),
    "votes by default": ("Classification", "", 'AnalysisType="0"'),
    "purity": ("Classification", "BoostType=AdaBoost:UseYesNoLeaf=False", 'AnalysisType="0"'),
    "real AdaBoost": ("Classification", "BoostType=RealAdaBoost", 'AnalysisType="0"'),
    "AdaCost": ("Classification", "BoostType=AdaCost", 'AnalysisType="0"'),
    "bagging": ("Classification", "BoostType=Bagging:UseYesNoLeaf=False", 'AnalysisType="0"'),
    "before 4.1": ("Classification", "UseYesNoLeaf=False", 'TreeType="0"'),
    "gradient regression": ("Regression", "BoostType=Grad", 'AnalysisType="1"'),
    "averaging regression": ("Regression", "BoostType=AdaBoost", 'AnalysisType="1"'),
    "multi-class": ("Multiclass", "BoostType=Grad", 'AnalysisType="1"'),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_forest_scores_as_its_reader(variant: str) -> None:
    kind, options, tree_type = VARIANTS[variant]
    trees = forest(len(variant), events=variant == "before 4.1")
    classes = 3 if kind == "Multiclass" else 2
    data = weight_file(trees, kind=kind, options=options, tree_type=tree_type, classes=classes)
    ensemble, x = from_bytes(data, "w.xml"), rows(1)
    sums, answers = tmva_scores(data, x)
    # Both add the same doubles in the same order: not one bit may differ.
    np.testing.assert_array_equal(margin(ensemble, x), sums)
    np.testing.assert_array_equal(margin(ensemble, x.astype(np.float64)), sums)
    # The answers are two forms of one function, all of whose values lie within [-1, 1]. Operands of
    # exponentials are below 64 and rounded, which is worth 64 u; at most 16 operations follow.
    assert np.abs(sums).max() < 32
    np.testing.assert_allclose(predict(ensemble, x), answers, rtol=0, atol=(64 + 16) * 2.0**-53)


def test_the_parts_of_an_ensemble_are_the_files() -> None:
    data = weight_file(
        forest(0), options="BoostType=Grad", names=["pt", "jet.eta", "x[0]", "a", "_"]
    )
    assert recognises(data)
    ensemble = from_bytes(data, "w.xml")
    assert ensemble.source == "TMVA"
    assert ensemble.feature_names == ("pt", "jet.eta", "x[0]", "a", "_")
    assert (ensemble.input_dtype, ensemble.sum_dtype) == ("float32", "float64")
    assert (ensemble.post, ensemble.outputs, ensemble.trees) == (Post.TANH, (1,), 12)


def test_variables_stand_in_order_of_their_index() -> None:
    data = weight_file(forest(0), options="BoostType=Grad")
    swapped = data.replace(b'VarIndex="0"', b'VarIndex="?"').replace(
        b'VarIndex="3"', b'VarIndex="0"'
    )
    ensemble = from_bytes(swapped.replace(b'VarIndex="?"', b'VarIndex="3"'), "w.xml")
    assert ensemble.feature_names == ("d", "b", "c", "a", "e")


def leaf(value: float, pos: str = "s", kind: int = -1) -> str:
    return (
        f'<Node pos="{pos}" depth="1" NCoef="0" IVar="-1" Cut="0" cType="1" res="{value!r}" '
        f'purity="0.5" nType="{kind}"/>'
    )


def split(cut: str, children: str, attributes: str = 'cType="1"', variable: int = 0) -> str:
    return (
        f'<Node pos="s" depth="0" IVar="{variable}" Cut="{cut}" {attributes} res="0" purity="0" '
        f'nType="0">{children}</Node>'
    )


STUMP = leaf(-1.0, "l") + leaf(1.0, "r", 1)


def stump(cut: str, attributes: str = 'cType="1"') -> Ensemble:
    tree = binary_tree(split(cut, STUMP, attributes))
    return from_bytes(weight_file([tree], options="BoostType=Grad"), "w.xml")


def test_a_tie_goes_right_and_the_cut_type_turns_the_sides() -> None:
    tenth = np.float32(0.1)
    x = np.zeros((4, FEATURES), np.float32)
    x[:, 0] = [
        np.nextafter(tenth, np.float32(0)),
        tenth,
        np.nextafter(tenth, np.float32(1)),
        np.nan,
    ]
    np.testing.assert_array_equal(margin(stump("0.1"), x)[:, 0], [-1, 1, 1, -1])
    np.testing.assert_array_equal(margin(stump("0.1", 'cType="0"'), x)[:, 0], [1, -1, -1, 1])


def test_features_and_cuts_are_float32() -> None:
    # In double, 0.1 is below the float32 nearest to it, and both are below 0.10000000149.
    x = np.full((1, FEATURES), 0.1)
    assert margin(stump("0.10000000149"), x) == 1


def test_the_type_of_a_node_makes_it_a_leaf_even_with_nodes_below() -> None:
    pruned = leaf(0.25, kind=-99).replace("/>", f">{STUMP}</Node>")
    data = weight_file([binary_tree(pruned)], options="BoostType=Grad")
    ensemble = from_bytes(data, "w.xml")
    assert ensemble.nodes == 1
    assert margin(ensemble, np.zeros((1, FEATURES)))[0, 0] == 0.25


def test_equal_leaves_and_single_leaves_are_trees() -> None:
    equal = split("0.5", leaf(0.5, "l") + leaf(0.5, "r"))
    trees = [binary_tree(equal), binary_tree(leaf(-0.25))]
    ensemble = from_bytes(weight_file(trees, options="BoostType=Grad"), "w.xml")
    np.testing.assert_array_equal(margin(ensemble, rows(3, 20)), np.full((20, 1), 0.25))


@pytest.mark.parametrize(
    ("signal", "background", "purity"), [("3e38", "3e38", 0), ("1", "3", 0.25)]
)
def test_old_purities_are_float32_as_in_the_reader(
    signal: str, background: str, purity: float
) -> None:
    ensemble = from_bytes(old_leaf(signal, background), "w.xml")
    assert margin(ensemble, np.zeros((1, FEATURES))) == purity


def test_an_old_leaf_without_events_is_refused() -> None:
    with pytest.raises(ModelError, match="tree 0, leaf 0 holds NaN or infinity"):
        from_bytes(old_leaf("0", "0"), "w.xml")


def old_leaf(signal: str, background: str) -> bytes:
    """Return a file from before TMVA 4.1, of one leaf with these weights of events."""
    root = leaf(0.0).replace('purity="0.5"', f'nS="{signal}" nB="{background}"')
    return weight_file([binary_tree(root)], options="UseYesNoLeaf=False", tree_type='TreeType="0"')


def test_boost_weights_count_even_where_an_old_option_says_otherwise() -> None:
    trees = [binary_tree(leaf(0.0, kind=1), 3.0), binary_tree(leaf(0.0, kind=-1), 1.0)]
    data = weight_file(trees, options="UseWeightedTrees=False", tree_type='AnalysisType="0"')
    assert margin(from_bytes(data, "w.xml"), np.zeros((1, FEATURES))) == (3 - 1) / 4


# What converters write


def converted(booster: xgboost.Booster, names: Sequence[str]) -> bytes:
    """Return a booster's trees in mlglue's layout: white space first, few options, no weights."""
    frame = booster.trees_to_dataframe().set_index("ID")

    def element(key: str, pos: str) -> str:
        row = frame.loc[key]
        if row["Feature"] == "Leaf":
            return (
                f'<Node pos="{pos}" depth="1" NCoef="0"     IVar="-1" Cut="     0.000000E+00" '
                f'cType="1"     res="{row["Gain"]:.9g}" rms="0.0e-00"     purity="0.0E+00" '
                'nType="-99">\n</Node>'
            )
        return (
            f'<Node pos="{pos}" depth="0" NCoef="0"     IVar="{names.index(row["Feature"])}" '
            f'Cut="{row["Split"]:.9g}" cType="1"     res="     0.000000E+00" rms="0.0"     '
            f'purity="0.0E+00" nType="0">\n{element(row["Yes"], "l")}'
            f"{element(row['No'], 'r')}</Node>"
        )

    trees = [
        f'<BinaryTree type="DecisionTree" boostWeight="0.0" itree="{i}">{element(f"{i}-0", "c")}'
        "</BinaryTree>"
        for i in range(booster.num_boosted_rounds())
    ]
    data = weight_file(trees, options="NTrees=9:BoostType=Grad:Shrinkage=0.1", names=names)
    spectators = data.index(b"<Spectators"), data.index(b"<Classes")
    assert spectators[0] > 0
    return b"\n        " + data[: spectators[0]] + data[spectators[1] :] + b"\n        "


def test_a_converted_booster_reaches_the_boosters_leaves() -> None:
    random = np.random.default_rng(5)
    x = np.round(random.normal(size=(3000, FEATURES)), 1).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0.1).astype(int)
    names = list("abcde")
    settings = {"max_depth": 5, "objective": "binary:logistic", "base_score": 0.5, "nthread": 1}
    train = xgboost.DMatrix(x, y, feature_names=names)
    booster = xgboost.train(settings, train, num_boost_round=20)
    ensemble = from_bytes(converted(booster, names), "w.xml")

    # Ties too: the features are rounded, and each threshold stands in a row.
    frame = booster.trees_to_dataframe()
    cuts = frame["Split"].dropna().to_numpy(np.float32)
    x[np.arange(len(cuts)), random.integers(FEATURES, size=len(cuts))] = cuts
    test = xgboost.DMatrix(x, feature_names=names)
    reached = booster.predict(test, pred_leaf=True).astype(int)
    value = frame.set_index(["Tree", "Node"])["Gain"].astype(np.float32)
    expected = np.stack([value[t].loc[reached[:, t]].to_numpy() for t in range(20)], axis=1)
    found = ensemble.starts[:-1] + find_leaves(ensemble, x)
    values = ensemble.values[ensemble.leaf[found], 0]
    np.testing.assert_array_equal(values.astype(np.float32), expected)
    # XGBoost adds 20 leaves in float32, which is off by at most 20 u of their magnitudes.
    bound = 20 * 2.0**-24 * np.abs(values).sum(axis=1)
    error = np.abs(margin(ensemble, x)[:, 0] - booster.predict(test, output_margin=True))
    assert (error <= bound).all()


# What is refused


GOOD = weight_file([binary_tree(split("0.5", STUMP))], options="BoostType=Grad")


def broken(old: str, new: str) -> bytes:
    assert old.encode() in GOOD
    return GOOD.replace(old.encode(), new.encode())


TRANSFORMED = (
    '<Transformations NTransformations="1"><Transform Name="Normalize"/></Transformations>'
)
REFUSED = [
    ("BDT::BDTG", "MLP::net", "w.xml: the method 'net' is TMVA's MLP, and only BDT is read"),
    ("BDT::BDTG", "Category::All", "'All' is TMVA's Category, .* convert the file of each"),
    ('IVar="0"', 'IVar="0" NCoef="3"', "tree 0, node 0 is a Fisher cut.*UseFisherCuts"),
    (">Grad<", ">Gard<", "BoostType='Gard' is none of TMVA's known ones"),
    ('AnalysisType="1"', 'AnalysisType="2"', "trees of AnalysisType=2, which is neither 0 nor 1"),
    ('n="a"', 'n="abs(eta)"', r"the variables \['abs\(eta\)'\] are expressions, not names"),
    ('n="b"', 'n="a/b"', "compute them upstream.* Expression=\"a_b\" for 'a/b'"),
    ("<Weights", TRANSFORMED + "<Weights", r"transformations \['Normalize'\].*VarTransform=None"),
    ("</Options>", '<Option name="DoPreselection">T</Option></Options>', "train without it"),
    ('IVar="0"', 'IVar="5"', "node 0 splits by feature 5, but the model has 5 features"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(old: str, new: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        from_bytes(broken(old, new), "w.xml")


def test_all_expressions_are_listed_at_once() -> None:
    data = weight_file(forest(0), names=["min(pull,0.1)", "pt", "a-b", "n()", "c"])
    with pytest.raises(ModelError, match=r"\['min\(pull,0.1\)', 'a-b', 'n\(\)'\]"):
        from_bytes(data, "w.xml")


def test_the_median_of_adaboost_r2_is_refused() -> None:
    for options in ("", "BoostType=AdaBoostR2"):
        data = weight_file(forest(0), kind="Regression", options=options)
        with pytest.raises(ModelError, match=r"AdaBoostR2 answers with .* BoostType=Grad"):
            from_bytes(data, "w.xml")


def test_votes_without_weight_are_refused() -> None:
    trees = [binary_tree(leaf(1.0), 0.0)] * 3
    with pytest.raises(ModelError, match=r"add up to 0\.0, .* 0: a converted model needs"):
        from_bytes(weight_file(trees, tree_type='AnalysisType="0"'), "w.xml")


def test_an_identity_and_what_is_off_are_no_reasons_to_refuse() -> None:
    identity = '<Transformations NTransformations="1"/>'
    options = "BoostType=Grad:DoPreselection=False:UseYesNoLeaf=F"
    assert from_bytes(weight_file(forest(0), options=options, extra=identity), "w").trees == 12


DAMAGED = [
    ('NTrees="1"', 'NTrees="2"', "1 of 2 trees are there: it was cut short"),
    ("BinaryTree", "Tree", "0 of 1 trees are there"),
    ("Weights", "Wieghts", "no element Weights"),
    ("</MethodSetup>", "", "w.xml: no well-formed XML: no element found"),
    ("MethodSetup", "Setup", "the root element is 'Setup', not TMVA's MethodSetup"),
    (' Method="BDT::BDTG"', "", "an element MethodSetup without the attribute Method"),
    ('"Classification"', '"Clusters"', "the AnalysisType 'Clusters' is not one of Classification"),
    (
        "</Options>",
        '<Option name="UseYesNoLeaf">?</Option></Options>',
        "is '[?]', neither True nor",
    ),
    ('NVar="5"', 'NVar="99999999999"', "NVar=99999999999, but variables of indices"),
    ('VarIndex="1"', 'VarIndex="0"', r"NVar=5, but variables of indices \[0, 2, 3, 4\]"),
    ('Cut="0.5"', 'Cut="nan"', "tree 0, node 0: Cut='nan' is no number that float32 holds"),
    ('Cut="0.5"', 'Cut="1e39"', "Cut='1e39' is no number that float32 holds"),
    ('Cut="0.5"', "", "tree 0, node 0: an element Node without the attribute Cut"),
    ('res="1.0"', 'res="x"', "tree 0, node 2: res='x' is no number"),
    ('IVar="0"', 'IVar="pt"', "IVar='pt' is no whole number"),
    ('pos="l"', 'pos="r"', r"has the children \['r', 'r'\] instead of l and r"),
    (STUMP, "", r"node 0 is no leaf, and has the children \[\] instead of l and r"),
    ("</BinaryTree>", f"{leaf(1.0)}</BinaryTree>", "tree 0 has 2 roots instead of one"),
]


@pytest.mark.parametrize(("old", "new", "message"), DAMAGED)
def test_what_is_damaged_is_said(old: str, new: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_bytes(broken(old, new), "w.xml")


def test_a_multi_class_file_lists_its_classes() -> None:
    data = weight_file(forest(0), kind="Multiclass", options="BoostType=Grad", classes=1)
    with pytest.raises(FormatError, match="multi-class, but lists 1 classes"):
        from_bytes(data, "w.xml")


@pytest.mark.parametrize(
    "subset",
    [
        '[<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]',
        '[<!ENTITY a SYSTEM "file:///etc/passwd">]',
        'SYSTEM "http://localhost/no.dtd"',
    ],
)
def test_a_document_type_is_refused_before_its_entities(subset: str) -> None:
    data = broken("<MethodSetup", f"<!DOCTYPE MethodSetup {subset}><MethodSetup")
    assert recognises(data)
    with pytest.raises(FormatError, match=r"w\.xml: it declares the document type 'MethodSetup'"):
        from_bytes(data, "w.xml")


def test_nesting_is_bounded() -> None:
    with pytest.raises(FormatError, match="nested more than 1000 deep"):
        from_bytes(broken(STUMP, "<Node>" * 100_000 + "</Node>" * 100_000), "w.xml")


def test_an_unknown_encoding_is_damage() -> None:
    with pytest.raises(FormatError, match="no well-formed XML: unknown encoding"):
        from_bytes(broken('"1.0"?>', '"1.0" encoding="klingon"?>'), "w.xml")


def test_other_files_are_not_recognised() -> None:
    assert recognises(b"\xef\xbb\xbf" + GOOD)
    for data in (b"", b"<svg/>", b'{"a": "<MethodSetup"}', b"tree\nversion=v4"):
        assert not recognises(data)
