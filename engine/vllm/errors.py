"""Why the connector cannot serve a vLLM."""


class UnsupportedByConnector(ValueError):
    """This model, or this configuration of vLLM, cannot be cached; the text says why and
    what to change. Raised at the start, never while requests run."""
