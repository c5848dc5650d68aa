"""The vLLM in this process, if there is one."""

import sys


def vllm_version() -> str | None:
    """Its version; None if this process has not imported vLLM. An installed
    vLLM that runs elsewhere says nothing about this process."""
    module = sys.modules.get("vllm")
    version = getattr(module, "__version__", None)
    return None if version is None else str(version)
