"""The jet tagger that ships with synth: simulated jets, a trained network, figures of merit."""
