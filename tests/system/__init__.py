"""The whole, over HTTP, as its users meet it."""
