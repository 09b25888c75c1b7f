"""Resampling, metrics, benchmark sets."""
