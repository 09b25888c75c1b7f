"""Weights on disk: found, fetched, verified, loaded."""
