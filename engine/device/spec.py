"""The shape of a paged KV cache and of the chunks that leave it."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class KVCacheSpec:
    """A paged KV cache of `num_blocks` blocks of `block_size` slots, one token a
    slot. With MLA (multi-head latent attention) K and V are one latent vector of
    `head_size` elements, and `num_kv_heads` is 1.

    Raises ValueError naming the field for anything below 1.
    """

    num_layers: int
    num_kv_heads: int
    head_size: int
    dtype: torch.dtype
    block_size: int
    num_blocks: int
    use_mla: bool

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_kv_heads", "head_size", "block_size", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"'{name}' must be at least 1, not {getattr(self, name)}.")
        if self.use_mla and self.num_kv_heads != 1:
            raise ValueError(f"'num_kv_heads' must be 1 with MLA, not {self.num_kv_heads}.")

    @property
    def num_slots(self) -> int:
        return self.num_blocks * self.block_size

    @property
    def hidden_size(self) -> int:
        """Elements of one token in one layer's K (or V, or latent vector)."""
        return self.num_kv_heads * self.head_size

    @property
    def num_planes(self) -> int:
        """Vectors that one token has over all layers: K and V of each, or one."""
        return self.num_layers * (1 if self.use_mla else 2)

    @property
    def bytes_per_token(self) -> int:
        return self.num_planes * self.hidden_size * self.dtype.itemsize

    def chunk_shape(self, num_tokens: int) -> tuple[int, ...]:
        """[2, layers, tokens, heads * head_size], K first; MLA [layers, tokens, head_size]."""
        if self.use_mla:
            return (self.num_layers, num_tokens, self.hidden_size)
        return (2, self.num_layers, num_tokens, self.hidden_size)

    def chunk_view(self, memory: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """A chunk of `num_tokens` tokens at the start of `memory`, uint8 [bytes]."""
        num_bytes = num_tokens * self.bytes_per_token
        return memory[:num_bytes].view(self.dtype).view(self.chunk_shape(num_tokens))
