"""The paged KV cache of one worker."""

from collections.abc import Sequence

import torch

from engine.contract import SlotRun, count_slots
from engine.device.checksum import LayerPlanes, combined_checksums, layer_checksums
from engine.device.slots import check_slots
from engine.device.spec import KVCacheSpec
from engine.device.transfer import transfer_for


class PagedKVCache:
    """Paged KV of all layers in one allocation.

    `layers` maps "model.layers.{i}" to a view: [2, num_blocks, block_size, heads,
    head_size] with K first, or with MLA [num_blocks, block_size, head_size]. The
    memory itself is ordered block by block, so that the KV of one block over all
    layers is contiguous: chunks are made of whole blocks, and one copy moves all
    layers.

    Thread-safe as torch is: concurrent calls must not write the same slots.
    """

    def __init__(self, spec: KVCacheSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self._blocks = torch.zeros(
            (spec.num_blocks, spec.num_planes, spec.block_size, spec.hidden_size),
            dtype=spec.dtype,
            device=device,
        )
        self._transfer = transfer_for(self._blocks)
        self.layers = {
            f"model.layers.{index}": self._layer_view(index) for index in range(spec.num_layers)
        }
        self._planes: LayerPlanes = {
            name: [layer] if spec.use_mla else list(layer.unbind(0))
            for name, layer in self.layers.items()
        }

    @property
    def num_slots(self) -> int:
        return self.spec.num_slots

    def check_slots(self, runs: Sequence[SlotRun]) -> None:
        """Raise SlotOutOfBounds for the first slot that does not exist."""
        check_slots(runs, self.num_slots)

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        """Copy the KV at the slots, in order, into `chunk`: contiguous, in host
        memory, of spec.dtype and spec.chunk_shape(number of slots).

        Raises SlotOutOfBounds, and ValueError for a chunk of another shape,
        before anything moves."""
        self._transfer.gather(runs, self._as_planes(runs, chunk))

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        """Copy `chunk` to the slots, in order; the reverse of gather, with the same
        errors."""
        self._transfer.scatter(self._as_planes(runs, chunk), runs)

    def checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
        """MD5 of each chunk of `chunk_size` slots, all layers combined. Raises
        SlotOutOfBounds."""
        self.check_slots(runs)
        return combined_checksums(self._planes, runs, chunk_size)

    def layerwise_checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> dict[str, list[str]]:
        """MD5 of each chunk of `chunk_size` slots, by layer. Raises SlotOutOfBounds."""
        self.check_slots(runs)
        return layer_checksums(self._planes, runs, chunk_size)

    def info(self) -> dict[str, dict[str, object]]:
        """Shape, dtype and device of every layer, JSON-ready."""
        return {
            name: {
                "shape": list(layer.shape),
                "dtype": str(layer.dtype),
                "device": str(layer.device),
            }
            for name, layer in self.layers.items()
        }

    def fill_random(self, seed: int) -> None:
        """Set all KV to numbers from -1 to 1 that depend on the seed alone."""
        generator = torch.Generator(self.device).manual_seed(seed)
        self._blocks.uniform_(-1.0, 1.0, generator=generator)

    def fill_pattern(self) -> None:
        """Set element i (row-major) of layer l to (((7 i + 13 l) mod 251) - 125) / 16,
        which float16 and bfloat16 hold exactly: KV that another process can
        recompute."""
        for index, layer in enumerate(self.layers.values()):
            position = torch.arange(layer.numel(), dtype=torch.int64, device=self.device)
            values = ((position * 7 + index * 13) % 251 - 125).to(torch.float32).div(16)
            layer.copy_(values.to(layer.dtype).view(layer.shape))

    def _layer_view(self, index: int) -> torch.Tensor:
        spec = self.spec
        if spec.use_mla:
            return self._blocks[:, index]
        planes = self._blocks.view(
            spec.num_blocks,
            2,
            spec.num_layers,
            spec.block_size,
            spec.num_kv_heads,
            spec.head_size,
        )
        return planes[:, :, index].transpose(0, 1)

    def _as_planes(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> torch.Tensor:
        """The chunk as [planes, tokens, hidden], after checking both sides."""
        self.check_slots(runs)
        num_tokens = count_slots(runs)
        expected = self.spec.chunk_shape(num_tokens)
        if tuple(chunk.shape) != expected or chunk.dtype is not self.spec.dtype:
            raise ValueError(
                f"A chunk of {num_tokens} tokens must be {self.spec.dtype} {list(expected)}, "
                f"not {chunk.dtype} {list(chunk.shape)}."
            )
        return chunk.view(self.spec.num_planes, num_tokens, self.spec.hidden_size)
