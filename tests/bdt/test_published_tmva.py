"""TMVA weight files and conifer JSON that experiments publish, against readers written for tests.

Where there are no published predictions: rows spread over the cuts of each feature, many on a cut.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conifer.model import make_model

from bdt.ensemble import Ensemble, Post
from bdt.load import conifer, tmva
from bdt.predict import margin, predict
from synth.errors import ModelError
from synth.exact import Array
from tests.bdt.slow_readers import conifer_scores, tmva_scores


@pytest.fixture(scope="module")
def models() -> Path:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "models"
    folder = Path(os.environ.get("SYNTH_MODELS", beside))
    if not folder.is_dir():
        pytest.skip(f"there are no models in {folder}; set SYNTH_MODELS to their folder")
    return folder / "bdt"


def rows(ensemble: Ensemble, count: int = 10_000) -> Array:
    """Return float32 rows: of each feature, half are one of its cuts, half spread beyond them."""
    random = np.random.default_rng(0)
    x = np.empty((count, ensemble.features), np.float32)
    for i in range(ensemble.features):
        cuts = ensemble.threshold[ensemble.feature == i]
        cuts = cuts if cuts.size else np.zeros(1)
        spread = random.normal(cuts.mean(), 2 * cuts.std() + 1e-3, count)
        x[:, i] = np.where(random.random(count) < 0.5, random.choice(cuts, count), spread)
    return x


PUPPI = "cms-pujetid/pileupJetId_133X_Winter24_Eta0p0To2p5_puppiV18_BDT.weights.xml"
CATEGORY = "cms-pujetid/TMVAClassificationCategory_BDTG.weights_jteta_3_5.xml"
EGAMMA = "cms-l1thgcal/egamma_id_drnn_cone_higheta_v0.xml"
PHOTON = "cms-l1pf/Photon_vs_Pion_BDTweights.xml"

TMVA = [
    (PUPPI, 40, Post.IDENTITY, {}),
    (EGAMMA, 100, Post.TANH, {}),
    # Two that name expressions: read once they are computed upstream and have a name.
    (CATEGORY, 50, Post.TANH, {"min(pull,0.1)": "pull"}),
    (PHOTON, 800, Post.IDENTITY, {"fabs(eta)": "abs_eta"}),
]


@pytest.mark.parametrize(("path", "trees", "post", "names"), TMVA)
def test_a_published_weight_file_scores_as_its_reader(
    models: Path, path: str, trees: int, post: Post, names: dict[str, str]
) -> None:
    data = (models / path).read_bytes()
    assert tmva.recognises(data)
    for expression, name in names.items():
        with pytest.raises(ModelError, match=r"are expressions, not names") as refusal:
            tmva.from_bytes(data, path)
        assert repr([expression]) in str(refusal.value)
        data = data.replace(f'Expression="{expression}"'.encode(), f'Expression="{name}"'.encode())
    ensemble = tmva.from_bytes(data, path)
    assert (ensemble.trees, ensemble.post) == (trees, post)
    assert set(names.values()) <= set(ensemble.feature_names)
    x = rows(ensemble)
    sums, answers = tmva_scores(data, x)
    np.testing.assert_array_equal(margin(ensemble, x), sums)
    # Two forms of tanh on sums below 32: see test_tmva.py.
    assert np.abs(sums).max() < 32
    np.testing.assert_allclose(predict(ensemble, x), answers, rtol=0, atol=80 * 2.0**-53)
    assert len(np.unique(answers)) > 10


CONIFER = [
    ("cms-l1pf/compositeID_EB_v0.json", 15, (1,), False),
    ("cms-l1pf/multiclass_EE.json", 180, (3,), False),
    ("cms-l1trk/L1_TrackQuality_GBDT_emulation_digitized.json", 60, (1,), True),
]


@pytest.mark.parametrize(("path", "trees", "outputs", "or_equal"), CONIFER)
def test_a_published_json_scores_as_conifer_would(
    models: Path, path: str, trees: int, outputs: tuple[int, ...], or_equal: bool
) -> None:
    data = (models / path).read_bytes()
    assert conifer.recognises(data)
    ensemble = conifer.from_bytes(data, path)
    assert (ensemble.trees, ensemble.outputs) == (trees, outputs)
    assert (ensemble.less_equal[ensemble.left >= 0] == or_equal).all()
    x = rows(ensemble).astype(np.float64)
    np.testing.assert_array_equal(margin(ensemble, x), conifer_scores(data, x))

    # conifer 1.11 refuses all three; with what it misses filled in, its scores are the same.
    model = json.loads(data)
    with pytest.raises(AssertionError, match="Missing expected key"):
        make_model(json.loads(data))
    for tree in (tree for row in model["trees"] for tree in row):
        one_hot = np.equal.outer(tree["feature"], np.arange(ensemble.features))
        tree["weight"] = one_hot.astype(int).tolist()
    model = {"library": "none", "splitting_convention": "<=", **model}
    model["init_predict"] = model["init_predict"][: outputs[0]]
    x = x[:1000]  # conifer takes its time
    scores = make_model(model).decision_function(x).reshape(-1, *outputs)
    # Each output adds trees / outputs leaves, in double, in some order.
    magnitude = np.abs(ensemble.values).max() * trees
    np.testing.assert_allclose(scores, margin(ensemble, x), 0, 2 * trees * 2.0**-53 * magnitude)
