"""Many inputs: what to do, and doing it."""
