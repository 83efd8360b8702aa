"""Applications that use the bridge."""
