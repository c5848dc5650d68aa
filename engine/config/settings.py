"""Every configuration key, declared once: type, range, default, effect, help.

Names are LMCache's where the meaning is the same, so that its YAML files load.
"""

from types import MappingProxyType

from engine.config.checks import bearer_token, http_url, one_line
from engine.config.key import Applies, ConfigKey
from engine.config.setting import (
    Setting,
    boolean,
    choice,
    integer,
    integers,
    number,
    optional_integers,
    optional_object,
    optional_text,
    secret,
    text,
)

_MAX_WORLD_SIZE = 4_096


class Settings:
    """The keys as typed attributes; `values` of the subclass gives them life."""

    chunk_size = integer(256, "Tokens in one chunk, the unit that is stored and found.", 1, 1 << 20)
    local_cpu = boolean(True, "Whether the hot cache in CPU memory is on at the start.")
    max_local_cpu_size = number(
        5.0, "CPU memory for KV chunks, in GiB; allocated at the start.", 0.0, 1 << 20
    )
    cache_policy = choice("LRU", "Which chunk is evicted when CPU memory is full.", ("LRU",))
    save_decode_cache = boolean(False, "Whether KV made while decoding is stored too.", Applies.NOW)
    save_unfull_chunk = boolean(
        False, "Whether a last chunk with fewer than chunk_size tokens is stored.", Applies.NOW
    )
    min_retrieve_tokens = integer(
        0, "Shorter cached prefixes are recomputed, not retrieved.", 0, 1 << 40, Applies.NOW
    )
    lmcache_instance_id = text(
        "lmcache_default_instance", "Name of this engine, the same on all its agents.", one_line
    )
    internal_api_server_enabled = boolean(True, "Whether the HTTP API is served.")
    internal_api_server_host = text(
        "127.0.0.1", "Address that the HTTP API binds to; not loopback needs agent_token.", one_line
    )
    internal_api_server_port_start = integer(
        6999, "Port of the scheduler; worker 0 has the next one.", 1, 65_535
    )
    internal_api_server_include_index_list = optional_integers(
        "Which agents serve HTTP: 0 the scheduler, 1 worker 0, …; null means all.",
        0,
        _MAX_WORLD_SIZE,
    )
    extra_config = optional_object("Free-form settings for plug-ins.")
    agent_token = secret("Bearer token that every call but /health needs.", bearer_token)
    controlplane_url = optional_text("Control plane that agents register with.", http_url)
    enrolment_token = secret("Token for registering with the control plane.", bearer_token)
    model_name = text(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Model whose KV is cached; part of every chunk key.",
        one_line,
    )
    num_layers = integer(30, "Layers of the paged KV cache.", 1, 4_096)
    num_kv_heads = integer(3, "KV heads of one layer on one worker; 1 with MLA.", 1, 4_096)
    head_size = integer(64, "Elements of one head; of the latent vector with MLA.", 1, 65_536)
    kv_dtype = choice(
        "bfloat16", "Element type of the KV cache.", ("float16", "bfloat16", "float32")
    )
    block_size = integer(16, "Slots in one block of the paged KV cache.", 1, 65_536)
    num_blocks = integer(512, "Blocks of the paged KV cache.", 1, 1 << 31)
    use_mla = boolean(False, "Whether the model uses multi-head latent attention.")
    device = choice(
        "auto", "Where the paged KV cache lies; auto is CUDA if present.", ("auto", "cpu", "cuda")
    )
    serve_scheduler = boolean(True, "Whether this process serves the scheduler's agent.")
    worker_ids = integers([0], "Workers whose agents this process serves.", 0, _MAX_WORLD_SIZE - 1)
    world_size = integer(1, "Workers of the engine, over all processes.", 1, _MAX_WORLD_SIZE)


KEYS: MappingProxyType[str, ConfigKey] = MappingProxyType(
    {
        setting.key.name: setting.key
        for setting in vars(Settings).values()
        if isinstance(setting, Setting)
    }
)
"""Every key by its name, in the order of definition."""
