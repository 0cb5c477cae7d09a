"""The version of the package, without any other import."""

__version__ = "0.1.0"
