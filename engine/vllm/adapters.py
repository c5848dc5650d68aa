"""LoRA adapters, told apart by their weights."""

from typing import TYPE_CHECKING

from engine.vllm.fingerprint import fingerprint, local_directory

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest

_MARKER = "adapter_config.json"


class Adapters:
    """What stands for an adapter in chunk keys. vLLM reads an adapter's files once, at a
    moment of its own: from files that changed since they were first seen nobody can
    tell which KV belongs to which."""

    def __init__(self) -> None:
        self._first_seen: dict[tuple[str, int, str], str] = {}

    def key_of(self, adapter: "LoRARequest") -> list[str] | None:
        """Name, path and fingerprint; None if KV with that adapter must not be cached:
        its files are not here, or changed."""
        directory = local_directory(adapter.lora_path, _MARKER)
        if directory is None:
            return None
        try:
            found = fingerprint(directory)
        except OSError:
            return None
        identity = (adapter.lora_name, adapter.lora_int_id, adapter.lora_path)
        if self._first_seen.setdefault(identity, found) != found:
            return None
        return [adapter.lora_name, adapter.lora_path, found]
