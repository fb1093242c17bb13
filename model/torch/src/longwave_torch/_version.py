"""The package's version: the one of the server of the same release."""

__version__ = "0.1.0"
