"""Networks in PyTorch: exact tiling, and what every other runtime is compared with."""
