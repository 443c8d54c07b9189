"""Where published models lie, for the tests that run when they are there."""

import os
from pathlib import Path

import pytest

__all__ = ["models_folder"]


def models_folder() -> Path:
    """Return the folder of published models, or skip the test that asks for it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "models"
    folder = Path(os.environ.get("SYNTH_MODELS", beside))
    if not folder.is_dir():
        pytest.skip(f"there are no models in {folder}; set SYNTH_MODELS to their folder")
    return folder
