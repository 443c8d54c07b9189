"""Settings of every test run."""

import os

from hypothesis import settings

# Set before anything imports Keras, which would look for TensorFlow otherwise.
os.environ.setdefault("KERAS_BACKEND", "torch")

# The same examples in every run, on every machine. No deadline: shared cores make timing noise.
settings.register_profile("synth", derandomize=True, deadline=None)
settings.load_profile("synth")
