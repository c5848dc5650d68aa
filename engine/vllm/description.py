"""What `/inference_info` shows of vLLM's configuration."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def describe(vllm_config: "VllmConfig") -> dict[str, object]:
    """What matters to a KV cache, JSON-ready; nothing secret, nothing of the
    environment."""
    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    cache = vllm_config.cache_config
    return {
        "model": model.model,
        "revision": model.revision,
        "dtype": str(model.dtype).removeprefix("torch."),
        "max_model_len": model.max_model_len,
        "quantization": model.quantization,
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "data_parallel_size": parallel.data_parallel_size,
        "block_size": cache.block_size,
        "num_gpu_blocks": cache.num_gpu_blocks,
        "cache_dtype": str(cache.cache_dtype),
        "enable_prefix_caching": cache.enable_prefix_caching,
        "max_num_seqs": vllm_config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": vllm_config.scheduler_config.max_num_batched_tokens,
    }
