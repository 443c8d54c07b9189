"""Simulates the jets of the demonstration: Pythia 8, anti-kT R = 0.8, mMDT grooming.

    python simulate.py jets.npz
    python simulate.py more.npz --like jets.npz   # other jets, on the scale of the first file

Particle level: no detector, no pile-up. README.md beside this file says what is in the data.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import fastjet
import numpy as np
import pythia8mc
from numpy.typing import NDArray
from substructure import FEATURES, GroomedJet, features

Floats = NDArray[np.float64]

RADIUS = 0.8
MATCHING = RADIUS / 2
Z_CUT = 0.1
JET_PT = (850.0, 1200.0)
MAX_RAPIDITY = 2.0
MANTISSA_BITS = 12

COMMON = (
    "Beams:eCM = 13000.",
    "Random:setSeed = on",
    "Print:quiet = on",
    "Next:numberCount = 0",
)
PT_HAT = ("PhaseSpace:pTHatMin = 950.", "PhaseSpace:pTHatMax = 1100.")
# A heavy scalar decays to longitudinal bosons, and Pythia keeps the angular correlations of
# their decays; the mass sets the pT of most bosons just below half of it.
SCALAR = (
    "Higgs:useBSM = on",
    "HiggsBSM:gg2H2 = on",
    "35:m0 = 2100.",
    "35:mWidth = 40.",
    "35:doForceWidth = on",
    "35:onMode = off",
)
HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")
HADRONIC_Z = ("23:onMode = off", "23:onIfAny = 1 2 3 4 5")


@dataclass(frozen=True)
class JetClass:
    """A class of jets: its origin (PDG codes without sign) and how Pythia makes it."""

    name: str
    origin: tuple[int, ...]
    settings: tuple[str, ...]


CLASSES = (
    JetClass(
        "q",
        (1, 2, 3),
        (
            "HardQCD:qq2qq = on",
            "HardQCD:gg2qqbar = on",
            "HardQCD:qqbar2qqbarNew = on",
            *PT_HAT,
        ),
    ),
    JetClass("g", (21,), ("HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on", *PT_HAT)),
    JetClass("W", (24,), (*SCALAR, "35:onIfMatch = 24 24", *HADRONIC_W)),
    JetClass("Z", (23,), (*SCALAR, "35:onIfMatch = 23 23", *HADRONIC_Z)),
    JetClass("t", (6,), ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *HADRONIC_W, *PT_HAT)),
)


@dataclass(frozen=True)
class Run:
    """One generator run: a class, a seed of its own, and how many jets to keep."""

    label: int
    seed: int
    jets: int


def main() -> None:
    """Simulates every class, standardises, shuffles and writes the file."""
    arguments = _arguments()
    quarter = arguments.jets // 4
    # The held-out jets have runs of their own: no event has a jet on both sides. Neither has one
    # that joins a file with the jets that are made like it.
    first = 0 if arguments.like is None else 4
    runs = [
        Run(label, 1000 * (label + 1) + part, quarter)
        for part in range(first, first + 4)
        for label in range(len(CLASSES))
    ]
    with get_context("spawn").Pool(arguments.processes) as pool:
        pairs = list(zip(runs, pool.map(simulate, runs, chunksize=1), strict=True))
    if arguments.like is not None:
        write_like(arguments.like, arguments.output, *shuffled(pairs, seed=1))
        return
    train = [pair for pair in pairs if pair[0].seed % 1000 < 3]
    test = [pair for pair in pairs if pair[0].seed % 1000 == 3]
    write(arguments.output, *shuffled(train, seed=1), *shuffled(test, seed=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jets", type=int, default=8000, help="per class, a quarter held out")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--like", type=Path, help="file whose scale is taken, for other jets: arrays x and y"
    )
    return parser.parse_args()


def simulate(run: Run) -> Floats:
    """The features of the run's jets, [jets, features]."""
    rows: list[Floats] = []
    for jet in jets(run):
        rows.append(features(jet))
        if len(rows) == run.jets:
            break
    return np.array(rows)


def jets(run: Run) -> Iterator[GroomedJet]:
    """Groomed, truth-matched jets, event after event, without end."""
    origin = CLASSES[run.label].origin
    pythia = pythia8mc.Pythia("", False)
    for setting in (*COMMON, f"Random:seed = {run.seed}", *CLASSES[run.label].settings):
        if not pythia.readString(setting):
            raise RuntimeError(f"Pythia does not know the setting {setting!r}")
    if not pythia.init():
        raise RuntimeError(f"Pythia cannot start class {CLASSES[run.label].name!r}")
    anti_kt = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    while True:
        if not pythia.next():
            continue
        axes = hard_partons(pythia.event, origin)
        cluster = fastjet.ClusterSequence(visible(pythia.event), anti_kt)
        for jet in fastjet.sorted_by_pt(cluster.inclusive_jets(JET_PT[0]))[:2]:
            if selected(jet) and any(axis.delta_R(jet) < MATCHING for axis in axes):
                yield groomed(jet)


def hard_partons(event: "pythia8mc.Event", origin: tuple[int, ...]) -> list["fastjet.PseudoJet"]:
    """Directions of the hard process's particles of these codes, resonances as they decay."""
    found = []
    for particle in event:
        # 23: outgoing from the hard process; 22: intermediate, here the resonances W, Z and t.
        if particle.statusAbs() in (22, 23) and particle.idAbs() in origin:
            last = event[particle.iBotCopyId()] if particle.statusAbs() == 22 else particle
            found.append(fastjet.PseudoJet(last.px(), last.py(), last.pz(), last.e()))
    return found


def visible(event: "pythia8mc.Event") -> list["fastjet.PseudoJet"]:
    """Stable particles except neutrinos."""
    return [
        fastjet.PseudoJet(p.px(), p.py(), p.pz(), p.e())
        for p in event
        if p.isFinal() and p.isVisible()
    ]


def selected(jet: "fastjet.PseudoJet") -> bool:
    """Whether the jet lies in the window of transverse momentum and rapidity."""
    return bool(JET_PT[0] < jet.pt() < JET_PT[1] and abs(jet.rap()) < MAX_RAPIDITY)


def groomed(jet: "fastjet.PseudoJet") -> GroomedJet:
    """The jet after the modified mass-drop tagger (soft drop with beta = 0).

    Reclusters with Cambridge/Aachen and walks back from the last merging along the harder branch
    until the softer one carries more than `Z_CUT` of the two branches' transverse momentum.
    Dasgupta, Fregoso, Marzani, Salam, arXiv:1307.0007; Larkoski et al., arXiv:1402.2657.
    """
    whole = fastjet.JetDefinition.max_allowable_R
    everything = fastjet.JetDefinition(fastjet.cambridge_algorithm, whole)
    cluster = fastjet.ClusterSequence(list(jet.constituents()), everything)
    branch = cluster.inclusive_jets()[0]
    z_g = 0.0
    harder, softer = fastjet.PseudoJet(), fastjet.PseudoJet()
    while branch.has_parents(harder, softer):
        z = min(harder.pt(), softer.pt()) / (harder.pt() + softer.pt())
        if z > Z_CUT:
            z_g = z
            break
        branch = fastjet.PseudoJet(harder if harder.pt() > softer.pt() else softer)
    parts = fastjet.sorted_by_pt(branch.constituents())
    return GroomedJet(
        pt=np.array([p.pt() for p in parts]),
        rapidity=np.array([p.rap() for p in parts]),
        phi=np.array([p.phi() for p in parts]),
        mass=max(branch.m(), 0.0),
        z_g=z_g,
    )


def shuffled(pairs: list[tuple[Run, Floats]], seed: int) -> tuple[Floats, NDArray[np.uint8]]:
    """All blocks in one array, in a fixed random order, and the label of each row."""
    x = np.concatenate([block for _, block in pairs])
    y = np.concatenate([np.full(len(block), run.label, np.uint8) for run, block in pairs])
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order], y[order]


def write(
    path: Path,
    x_train: Floats,
    y_train: NDArray[np.uint8],
    x_test: Floats,
    y_test: NDArray[np.uint8],
) -> None:
    """Standardises by the training jets, rounds to `MANTISSA_BITS` and writes the file."""
    mean, scale = x_train.mean(axis=0), x_train.std(axis=0)
    np.savez_compressed(
        path,
        x_train=rounded((x_train - mean) / scale),
        y_train=y_train,
        x_test=rounded((x_test - mean) / scale),
        y_test=y_test,
        mean=mean,
        scale=scale,
        feature_names=np.array(FEATURES),
        class_names=np.array([c.name for c in CLASSES]),
    )


def write_like(scale_of: Path, path: Path, x: Floats, y: NDArray[np.uint8]) -> None:
    """Standardises as another file's jets are, rounds to `MANTISSA_BITS` and writes x and y."""
    with np.load(scale_of) as file:
        mean, scale = file["mean"], file["scale"]
    np.savez_compressed(path, x=rounded((x - mean) / scale), y=y)


def rounded(x: Floats) -> NDArray[np.float32]:
    """To `MANTISSA_BITS` significant bits: half the size of the compressed file."""
    mantissa, exponent = np.frexp(x)
    steps = 2.0**MANTISSA_BITS
    return np.ldexp(np.round(mantissa * steps) / steps, exponent).astype(np.float32)


if __name__ == "__main__":
    main()
