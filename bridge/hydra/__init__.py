"""Ory Hydra, as more than one part of the bridge speaks to it."""
