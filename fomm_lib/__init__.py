"""The First Order Motion Model, step by step: a portrait and a driving video go in, a moving portrait comes out."""

__version__ = "0.1.0"
