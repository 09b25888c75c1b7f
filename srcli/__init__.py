"""srcli: lightweight super-resolution networks by name, on an ordinary computer."""

__version__ = "0.1.0"
