"""Live models of training frameworks, through the frameworks' own ONNX exporters.

One file a framework; each imports its framework, so nothing here is imported before a model of that
framework is at hand (see `synth.load`).
"""
