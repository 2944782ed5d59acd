"""The version, in a place that needs nothing else of the package."""

__version__ = "0.1.0.dev0"
