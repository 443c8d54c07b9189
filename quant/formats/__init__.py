"""Models that are quantised already, one file a source format: their quantisers keep their bits."""
