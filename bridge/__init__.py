"""The issuance authorizer bridge: a token service asks, Open Policy Agent answers, the log remembers."""

__version__ = "0.1.0"
