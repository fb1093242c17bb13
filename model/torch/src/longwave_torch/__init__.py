"""Longwave in PyTorch: train here, serve there."""
