"""Checkpoints as bytes: written whole, read without running anything."""
