"""A Llama of two layers with random weights, large enough to tell KV apart."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, VOCABULARY = 64, 2, 4, 2, 32, 1024
_MLP = 128
_RANK = 8


def write_model(
    directory: Path, *, seed: int = 0, head_size: int = HEAD_SIZE, **changes: object
) -> Path:
    """Write weights and configuration, with these changes; the directory. Weights have
    a deviation of 0.3: with much smaller ones a wrong KV cache would give the same tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "model.embed_tokens.weight": weight(VOCABULARY, HIDDEN),
        "lm_head.weight": weight(VOCABULARY, HIDDEN),
        "model.norm.weight": torch.ones(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        state |= {
            f"{prefix}.self_attn.q_proj.weight": weight(HEADS * head_size, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": weight(KV_HEADS * head_size, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": weight(KV_HEADS * head_size, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": weight(HIDDEN, HEADS * head_size),
            f"{prefix}.mlp.gate_proj.weight": weight(_MLP, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": weight(_MLP, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": weight(HIDDEN, _MLP),
            f"{prefix}.input_layernorm.weight": torch.ones(HIDDEN),
            f"{prefix}.post_attention_layernorm.weight": torch.ones(HIDDEN),
        }
    save_file(state, str(directory / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": _MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": head_size,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    (directory / "config.json").write_text(json.dumps({**config, **changes}))
    return directory


def write_adapter(directory: Path, *, seed: int) -> Path:
    """Write a LoRA adapter of rank 8 for K and V of every layer, as PEFT does; the
    directory."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer in range(LAYERS):
        for projection in ("k_proj", "v_proj"):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            shapes = {"lora_A": (_RANK, HIDDEN), "lora_B": (KV_HEADS * HEAD_SIZE, _RANK)}
            for name, shape in shapes.items():
                state[f"{prefix}.{name}.weight"] = torch.randn(*shape, generator=generator) * 0.3
    save_file(state, str(directory / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": _RANK,
        "lora_alpha": _RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["k_proj", "v_proj"],
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory
