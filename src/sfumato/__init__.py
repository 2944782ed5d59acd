"""Sfumato: train and share diffusion adapters without giving the pictures away, and measure what you give away."""

__version__ = "0.1.0.dev0"
