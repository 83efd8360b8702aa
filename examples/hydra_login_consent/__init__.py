"""A login and consent application for Ory Hydra that asks the bridge what may be granted."""
