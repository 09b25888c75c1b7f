"""What exists: architectures, models and their weights, as data."""
