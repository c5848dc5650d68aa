"""What can be wrong with a configuration."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key, the source it
    came from, what is wrong and the remedy. Values of secrets are not in it."""


class InvalidValueError(ValueError):
    """A value that its key does not take; the message says why, without the key."""
