"""Formats of models that were quantised in training, one file a source.

Each reads its source's quantisers into the graph's `Quantise` and `Dequantise`. Files that read
operators of ONNX models are listed under ``synth.onnx`` in pyproject.toml.
"""
