import numpy as np
import onnx
import onnxruntime as ort
import pytest

from projects.demo.jets import ACCURACY, CLASSES, Jets, load_jets, model_path
from projects.demo.metrics import accuracy, efficiency_at


@pytest.fixture(scope="module")
def jets() -> Jets:
    return load_jets()


@pytest.fixture(scope="module")
def score(jets: Jets) -> np.ndarray:
    session = ort.InferenceSession(model_path(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["score"], {"x": jets.x_test})[0])


def test_shapes_and_types(jets: Jets) -> None:
    assert jets.x_train.shape == (len(jets.y_train), 16)
    assert jets.x_test.shape == (len(jets.y_test), 16)
    assert len(jets.y_train) == 3 * len(jets.y_test)
    assert len(jets.y_train) + len(jets.y_test) >= 25_000
    assert jets.x_train.dtype == jets.x_test.dtype == np.float32
    assert jets.y_train.dtype == jets.y_test.dtype == np.int64
    assert jets.mean.shape == jets.scale.shape == (16,)
    assert len(set(jets.feature_names)) == 16
    assert jets.class_names == CLASSES


def test_classes_are_balanced_and_shuffled(jets: Jets) -> None:
    for labels in (jets.y_train, jets.y_test):
        counts = np.bincount(labels, minlength=5)
        np.testing.assert_array_equal(counts, len(labels) // 5)
        # A thousand jets of five equal classes: 200 +- 13 each, and five of those either side.
        first = np.bincount(labels[:1000], minlength=5)
        assert np.all(np.abs(first - 200) <= 65)


def test_features_are_finite_standardised_and_in_range(jets: Jets) -> None:
    for x in (jets.x_train, jets.x_test):
        assert np.isfinite(x).all()
        assert np.abs(x).max() < 16.0
    # Rounding to 12 bits moves a mean by far less than this; the held-out jets have sampling error.
    np.testing.assert_allclose(jets.x_train.mean(axis=0, dtype=np.float64), 0.0, atol=1e-3)
    np.testing.assert_allclose(jets.x_train.std(axis=0, dtype=np.float64), 1.0, atol=1e-3)
    np.testing.assert_allclose(jets.x_test.mean(axis=0, dtype=np.float64), 0.0, atol=0.06)


def test_features_have_twelve_significant_bits(jets: Jets) -> None:
    mantissa, _ = np.frexp(jets.x_train)
    np.testing.assert_array_equal(mantissa * 4096, np.round(mantissa * 4096))


def test_physics_is_what_the_names_say(jets: Jets) -> None:
    raw = jets.x_train * jets.scale + jets.mean
    mass = np.exp(raw[:, jets.feature_names.index("log_mass")])
    # Neutrinos, particles lost by the groomer or won from the event move a peak by a few GeV.
    for name, expected in (("W", 80.4), ("Z", 91.2), ("t", 172.5)):
        median = np.median(mass[jets.y_train == CLASSES.index(name)])
        assert median == pytest.approx(expected, rel=0.05)
    number = raw[:, jets.feature_names.index("multiplicity")]
    np.testing.assert_allclose(number, np.round(number), atol=0.05)


def test_held_out_jets_are_not_trained_on(jets: Jets) -> None:
    # A groomed jet of one particle has the same features as any other: 15 of the held-out jets.
    # They come from other events all the same; two particles suffice to tell jets apart.
    number = jets.feature_names.index("multiplicity")
    alone = np.round(jets.x_test[:, number] * jets.scale[number] + jets.mean[number]) == 1.0
    assert alone.sum() == 15
    train = {row.tobytes() for row in jets.x_train}
    assert not any(row.tobytes() in train for row in jets.x_test[~alone])


def test_arrays_are_read_only(jets: Jets) -> None:
    with pytest.raises(ValueError, match="read-only"):
        jets.x_test[0, 0] = 0.0


def test_the_model_is_named_for_its_readers() -> None:
    model = onnx.load(model_path())
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.node] == [
        *("fc1", "relu1", "fc2", "relu2", "fc3", "relu3", "fc4", "softmax"),
    ]
    shapes = {w.name: tuple(w.dims) for w in model.graph.initializer if "weight" in w.name}
    assert list(shapes.values()) == [(64, 16), (32, 64), (32, 32), (5, 32)]


def test_the_stated_accuracy_is_reproduced(jets: Jets, score: np.ndarray) -> None:
    # Summation order may move a jet or two that lies on a border between classes.
    assert accuracy(score, jets.y_test) == pytest.approx(ACCURACY, abs=5e-4)


def test_the_tagger_finds_tops(jets: Jets, score: np.ndarray) -> None:
    loose, tight = (efficiency_at(rate, score, jets.y_test) for rate in (1e-2, 1e-3))
    assert tight.value < loose.value
    assert loose.false_positive_rate <= 1e-2
    assert tight.false_positive_rate <= 1e-3
    # A cut that knows nothing has an efficiency equal to its rate.
    assert tight.low > 1e-2
