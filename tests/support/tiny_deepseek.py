"""A DeepSeek-V2 of two layers with random weights: multi-head latent attention."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

LATENT, ROTATED = 512, 64
_HIDDEN, _LAYERS, _HEADS, _VOCABULARY = 64, 2, 4, 1024
_NOPE, _VALUE, _MLP = 32, 32, 128


def write_model(directory: Path) -> Path:
    """Write weights and configuration; the directory. Weights have a deviation of 0.3:
    with much smaller ones a wrong KV cache would give the same tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "model.embed_tokens.weight": weight(_VOCABULARY, _HIDDEN),
        "lm_head.weight": weight(_VOCABULARY, _HIDDEN),
        "model.norm.weight": torch.ones(_HIDDEN),
    }
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        attention = f"{prefix}.self_attn"
        state |= {
            f"{attention}.q_proj.weight": weight(_HEADS * (_NOPE + ROTATED), _HIDDEN),
            f"{attention}.kv_a_proj_with_mqa.weight": weight(LATENT + ROTATED, _HIDDEN),
            f"{attention}.kv_a_layernorm.weight": torch.ones(LATENT),
            f"{attention}.kv_b_proj.weight": weight(_HEADS * (_NOPE + _VALUE), LATENT),
            f"{attention}.o_proj.weight": weight(_HIDDEN, _HEADS * _VALUE),
            f"{prefix}.mlp.gate_proj.weight": weight(_MLP, _HIDDEN),
            f"{prefix}.mlp.up_proj.weight": weight(_MLP, _HIDDEN),
            f"{prefix}.mlp.down_proj.weight": weight(_HIDDEN, _MLP),
            f"{prefix}.input_layernorm.weight": torch.ones(_HIDDEN),
            f"{prefix}.post_attention_layernorm.weight": torch.ones(_HIDDEN),
        }
    save_file(state, str(directory / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "hidden_size": _HIDDEN,
        "intermediate_size": _MLP,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "q_lora_rank": None,
        "kv_lora_rank": LATENT,
        "qk_nope_head_dim": _NOPE,
        "qk_rope_head_dim": ROTATED,
        "v_head_dim": _VALUE,
        "n_routed_experts": 2,
        "first_k_dense_replace": _LAYERS,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    (directory / "config.json").write_text(json.dumps(config))
    return directory
