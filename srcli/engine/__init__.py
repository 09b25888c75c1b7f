"""Pixels to pixels: device choice, exact tiling, upscaling."""
