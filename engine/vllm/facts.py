"""What vLLM decided about its KV cache, as far as chunks depend on it."""

import hashlib
import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from vllm.platforms import current_platform
from vllm.v1.kv_cache_interface import FullAttentionSpec, MLAAttentionSpec

from engine.vllm.errors import UnsupportedByConnector
from engine.vllm.fingerprint import fingerprint, local_directory

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig

_MARKER = "config.json"
_KINDS = (FullAttentionSpec, MLAAttentionSpec)
_DTYPES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32"}


@dataclass(frozen=True)
class KVFacts:
    """The KV cache of one rank. `page_bytes` are the bytes of one block in one layer;
    `layers` are the layers' names in the order in which a block holds them. `fmt`
    names the physical layout of a block and the weights that filled it: two ranks whose
    names differ have no use for each other's bytes."""

    model_name: str
    layers: tuple[str, ...]
    num_kv_heads: int
    head_size: int
    kv_dtype: str
    use_mla: bool
    block_size: int
    num_blocks: int
    page_bytes: int
    world_size: int
    fmt: str

    def as_keys(self) -> dict[str, object]:
        """The keys of an EngineConfig that vLLM decides."""
        return {
            "model_name": self.model_name,
            "num_layers": len(self.layers),
            "num_kv_heads": self.num_kv_heads,
            "head_size": self.head_size,
            "kv_dtype": self.kv_dtype,
            "use_mla": self.use_mla,
            "block_size": self.block_size,
            "num_blocks": self.num_blocks,
            "world_size": self.world_size,
        }


def read_facts(vllm_config: "VllmConfig", kv_cache_config: "KVCacheConfig") -> KVFacts:
    """Raises UnsupportedByConnector for what cannot be cached."""
    groups = kv_cache_config.kv_cache_groups
    if len(groups) != 1:
        raise UnsupportedByConnector(
            f"The model has {len(groups)} groups of KV cache layers; KVPlane caches models whose "
            "layers all use full attention. Start vLLM without kv_transfer_config for this model."
        )
    spec = groups[0].kv_cache_spec
    if not isinstance(spec, FullAttentionSpec) or type(spec) not in _KINDS:
        raise UnsupportedByConnector(
            f"The model's KV cache is of the kind {type(spec).__name__}; KVPlane caches full "
            "attention and MLA. Start vLLM without kv_transfer_config for this model."
        )
    if spec.dtype not in _DTYPES:
        raise UnsupportedByConnector(
            f"The KV cache has elements of {spec.dtype}; KVPlane caches "
            f"{', '.join(_DTYPES.values())}. Start vLLM with kv_cache_dtype auto."
        )
    parallel = vllm_config.parallel_config
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(parallel, name) > 1:
            raise UnsupportedByConnector(
                f"'{name}' is {getattr(parallel, name)}: a rank then has only some tokens of a "
                "block. Start vLLM with 1."
            )
    use_mla = isinstance(spec, MLAAttentionSpec)
    layers = tuple(layer for tensor in kv_cache_config.kv_cache_tensors for layer in tensor.layers)
    model = vllm_config.model_config
    described = {
        "model": _describe_model(vllm_config),
        "layers": layers,
        "heads": spec.num_heads,
        "head_size": [spec.head_size, spec.head_size_v],
        "block_size": spec.block_size,
        "page_bytes": spec.page_size_bytes,
        "layout": kv_cache_config.kv_cache_layout,
        "device": current_platform.device_type,
        # The kernels for some processors pack K in an order of their own.
        "cpu": [platform.machine(), torch.cpu._is_amx_tile_supported()]
        if current_platform.is_cpu()
        else None,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
    return KVFacts(
        model_name=model.model,
        layers=layers,
        num_kv_heads=1 if use_mla else spec.num_kv_heads,
        head_size=spec.head_size,
        kv_dtype=_DTYPES[spec.dtype],
        use_mla=use_mla,
        block_size=spec.block_size,
        num_blocks=kv_cache_config.num_blocks,
        page_bytes=spec.page_size_bytes,
        world_size=parallel.world_size,
        fmt=f"VLLM_BLOCKS_{digest[:16]}",
    )


def _describe_model(vllm_config: "VllmConfig") -> dict[str, object]:
    """What besides its name tells a model from others: chunks on disk outlive the
    weights, and other weights may come under the same name."""
    model, load = vllm_config.model_config, vllm_config.load_config
    directory = None
    if not model.model_weights:
        # Else they are read from an object store, and are known by their address.
        directory = local_directory(model.model, _MARKER, model.revision, load.download_dir)
    architecture = model.hf_config.to_dict()
    for irrelevant in ("transformers_version", "_name_or_path"):
        architecture.pop(irrelevant, None)
    return {
        "address": model.model_weights,
        "revision": model.revision,
        "code_revision": model.code_revision,
        "quantization": model.quantization,
        "dtype": str(model.dtype),
        "weights": None if directory is None else fingerprint(directory),
        "dummy": model.seed if load.load_format == "dummy" else None,
        "architecture": architecture,
        # Some models rotate positions in another way where contexts may be long.
        "long": model.max_model_len if "longrope" in json.dumps(architecture, default=str) else 0,
    }
