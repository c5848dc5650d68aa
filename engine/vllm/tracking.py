"""What the scheduler's side remembers of a request."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.tokens import as_token_array, chunk_hashes, root_hash
from engine.vllm.adapters import Adapters

if TYPE_CHECKING:
    from vllm.v1.request import Request


@dataclass
class Offer:
    """What was told to vLLM: so many tokens after the first `num_computed` can be
    loaded."""

    num_computed: int
    num_tokens: int


@dataclass
class TrackedRequest:
    """One request from its first lookup to its end.

    `num_kept` are leading chunks that are stored already, or that a save was planned
    for.
    """

    request: "Request"
    root: bytes
    chunk_size: int
    hashes: list[bytes] = field(default_factory=list)
    """Of the whole chunks of the tokens so far."""
    offer: Offer | None = None
    """What the last lookup found; None before the first, and once it was used."""
    num_kept: int = 0
    is_loading: bool = False
    """A load was planned and is not reported yet."""
    has_failed: bool = False
    """A load was reported as failed."""
    may_save: bool = True
    """False if the request goes on with KV from before the cache was cleared."""
    waits_for: bytes | None = None
    """The first chunk that the last lookup did not find; None if it found all."""
    waiting_since: float | None = None
    """When the request began to wait for others' saves; None if it never did."""

    def hash_chunks(self) -> list[bytes]:
        """Hashes of all whole chunks of the tokens that are known now."""
        tokens = self.request.all_token_ids
        known = len(self.hashes) * self.chunk_size
        whole = len(tokens) - len(tokens) % self.chunk_size
        if whole > known:
            parent = self.hashes[-1] if self.hashes else self.root
            more = as_token_array(list(tokens[known:whole]))
            self.hashes.extend(chunk_hashes(parent, more, self.chunk_size))
        return self.hashes


def is_cacheable(request: "Request") -> bool:
    """Whether KV of this request depends on nothing but what its salt tells. Whoever
    wants the log probabilities of the prompt needs it computed. The input of a
    resumable request (streaming) changes while it runs: tokens are taken back, images
    are added."""
    parameters = request.sampling_params
    return (
        not request.resumable
        and request.prompt_token_ids is not None
        and request.prompt_embeds is None
        and parameters is not None
        and parameters.prompt_logprobs is None
    )


def salted_root(
    request: "Request", adapters: Adapters, model_name: str, chunk_size: int
) -> bytes | None:
    """The root of the request's chunk hashes: what besides the tokens its KV depends
    on, a tenant's salt, an adapter, images and where they are, is part of it. None if
    its KV must not be cached."""
    adapter = None
    if request.lora_request is not None:
        adapter = adapters.key_of(request.lora_request)
        if adapter is None:
            return None
    media = [
        [feature.identifier, feature.mm_position.offset] for feature in request.mm_features or ()
    ]
    salt = ""
    if request.cache_salt or adapter or media:
        salt = json.dumps([request.cache_salt, adapter, media])
    return root_hash(model_name, chunk_size, salt)
