"""A small authorization server on Authlib that asks the bridge before it mints. An example: see its README."""
