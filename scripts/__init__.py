"""Commands for who works on the bridge; nothing here is installed with it."""
