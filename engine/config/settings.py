"""Every configuration key, declared once: type, range, default, effect, help.

Names are LMCache's where the meaning is the same, so that its YAML files load.
"""

from types import MappingProxyType

from engine.config.checks import (
    absolute_path,
    bearer_token,
    disk_directories,
    hide_credentials,
    http_url,
    lookup_urls,
    one_line,
    remote_url,
)
from engine.config.key import Applies, ConfigKey, FixedBecause
from engine.config.setting import (
    Setting,
    boolean,
    choice,
    integer,
    integers,
    number,
    optional_choice,
    optional_integer,
    optional_integers,
    optional_number,
    optional_object,
    optional_text,
    optional_texts,
    secret,
    text,
)

BACKENDS = ("LocalCPUBackend", "LocalDiskBackend", "RemoteBackend")
"""Names of the storage backends, in the order in which they are read."""
_MAX_WORLD_SIZE = 4_096
_Fixed = FixedBecause
_Recreate = Applies.ON_LOOKUP_RECREATE


class Settings:
    """The keys as typed attributes; `values` of the subclass gives them life."""

    chunk_size = integer(
        256, "Tokens in one chunk, the unit that is stored and found.", 1, 1 << 20, _Fixed.IN_KEYS
    )
    local_cpu = boolean(
        True, "Whether the hot cache in CPU memory is on at the start.", _Fixed.AT_START
    )
    max_local_cpu_size = number(
        5.0, "CPU memory for KV chunks, in GiB.", 0.0, 1 << 20, _Fixed.ALLOCATED
    )
    local_cpu_use_hugepages = boolean(
        False,
        "Whether that memory lies in huge pages: reserved ones if there are enough, else "
        "transparent ones.",
        _Fixed.ALLOCATED,
    )
    enable_lazy_memory_allocator = boolean(
        False,
        "Whether that memory is taken from the system bit by bit, ahead of need, instead of "
        "whole at the start.",
        _Fixed.ALLOCATED,
    )
    lazy_memory_initial_ratio = number(
        0.2, "Part of that memory that is taken at the start.", 0.0, 1.0, _Fixed.ALLOCATED
    )
    lazy_memory_expand_trigger_ratio = number(
        0.5, "Part in use of what is taken above which more is taken.", 0.0, 1.0, Applies.NOW
    )
    lazy_memory_step_ratio = number(
        0.1, "Part of that memory that is taken at once.", 0.001, 1.0, Applies.NOW
    )
    cache_policy = choice(
        "LRU",
        "Which chunk is evicted first when a tier is full.",
        ("LRU", "LFU", "FIFO", "MRU"),
        _Fixed.OPENED,
    )
    local_disk = optional_text(
        "Directory for chunks on disk; several, separated by commas, for several devices.",
        _Fixed.OPENED,
        disk_directories,
    )
    max_local_disk_size = number(
        0.0, "Disk space for KV chunks of one worker, in GiB.", 0.0, 1 << 30, _Fixed.OPENED
    )
    local_disk_fsync = choice(
        "never",
        "Whether a chunk file is flushed to the device before it counts: never (a checksum finds "
        "what a power cut broke) or file.",
        ("never", "file"),
        _Fixed.OPENED,
    )
    local_disk_direct_io = boolean(
        True,
        "Whether chunk files bypass the page cache, where the file system lets them.",
        _Fixed.OPENED,
    )
    remote_url = optional_text(
        "Store that several engines share: fs:///directory, redis://host:6379, rediss://, "
        "redis+cluster://, or a scheme of an installed connector.",
        _Fixed.OPENED,
        remote_url,
        hide_credentials,
    )
    remote_serde = choice(
        "naive",
        "How chunks are written to the remote store: naive as they are, zstd compressed.",
        ("naive", "zstd"),
        Applies.NOW,
    )
    retrieve_locations = optional_texts(
        "Backends that are read; null means all.", Applies.NOW, choices=BACKENDS
    )
    store_location = optional_choice(
        "The only backend that is written; null means all.", BACKENDS, Applies.NOW
    )
    blocking_timeout_secs = number(
        10.0, "Seconds that a request waits for a remote store.", 0.001, 3_600.0, Applies.NOW
    )
    storage_queue_chunks = integer(
        16,
        "Chunks that wait to be written to a slower tier; more are dropped. Never more than a "
        "quarter of the chunks in memory.",
        1,
        1 << 20,
        _Fixed.OPENED,
    )
    breaker_failure_threshold = integer(
        3, "Failures in a row after which a tier is left alone.", 1, 1 << 20, Applies.NOW
    )
    breaker_probe_interval_secs = number(
        5.0, "Seconds between two probes of a tier that is left alone.", 0.01, 3_600.0, Applies.NOW
    )
    save_decode_cache = boolean(False, "Whether KV made while decoding is stored too.", Applies.NOW)
    save_unfull_chunk = boolean(
        False, "Whether a last chunk with fewer than chunk_size tokens is stored.", Applies.NOW
    )
    min_retrieve_tokens = integer(
        0, "Shorter cached prefixes are recomputed, not retrieved.", 0, 1 << 40, Applies.NOW
    )
    pin_timeout_sec = number(
        300.0,
        "Seconds after which chunks that a lookup promised to a request may be evicted, if the "
        "request has not retrieved them.",
        0.1,
        86_400.0,
        Applies.NOW,
    )
    pin_check_interval_sec = number(
        30.0, "Seconds between two looks for such chunks.", 0.05, 3_600.0, Applies.NOW
    )
    enable_async_loading = boolean(
        False,
        "Whether a lookup starts to load chunks from slower tiers, and is answered when they are "
        "in memory.",
        _Recreate,
    )
    enable_scheduler_bypass_lookup = boolean(
        False,
        "Whether the scheduler looks chunks up without asking the workers: in the engines of its "
        "own process, else in the remote store.",
        _Recreate,
    )
    hit_miss_ratio = optional_number(
        "Largest part of a prompt that a lookup reports as cached, in whole chunks; null means "
        "all of it.",
        0.0,
        1.0,
        _Recreate,
    )
    lookup_timeout_ms = integer(
        3_000,
        "Milliseconds that a lookup waits for the workers; then nothing counts as cached.",
        1,
        3_600_000,
        Applies.NOW,
    )
    lookup_server_worker_ids = optional_integers(
        "Workers that are asked by a lookup; null or none means all of them, with MLA worker 0.",
        0,
        _MAX_WORLD_SIZE - 1,
        _Recreate,
    )
    lookup_server_urls = optional_texts(
        "Where the workers' lookup servers listen, one for each worker in order of its id: "
        "tcp://10.0.0.5:7100, or ipc:// and a path. null means sockets in a directory of this "
        "machine that only the own user can enter.",
        _Fixed.LISTENING,
        lookup_urls,
    )
    enable_chunk_statistics = boolean(
        False, "Whether the chunks of looked-up prompts can be counted.", _Recreate
    )
    chunk_statistics_auto_start_statistics = boolean(
        False, "Whether counting begins as soon as it can.", _Recreate
    )
    chunk_statistics_auto_exit_timeout_hours = number(
        0.0, "Hours after which counting stops; 0 means never.", 0.0, 1e6, Applies.NOW
    )
    chunk_statistics_auto_exit_target_unique_chunks = optional_integer(
        "Unique chunks at which counting stops; null means never.", 1, 1 << 40, Applies.NOW
    )
    chunk_statistics_strategy = choice(
        "memory_bloom_filter",
        "How unique chunks are told: memory_bloom_filter in fixed memory, nearly; file_hash in a "
        "file, exactly.",
        ("memory_bloom_filter", "file_hash"),
        _Recreate,
    )
    chunk_statistics_bloom_capacity = integer(
        10_000_000,
        "Unique chunks up to which memory_bloom_filter is true to 1 %.",
        1_000,
        1_000_000_000,
        _Recreate,
    )
    chunk_statistics_directory = optional_text(
        "Directory for the file of file_hash; null means a temporary one.",
        _Fixed.OPENED,
        absolute_path,
    )
    lmcache_instance_id = text(
        "lmcache_default_instance",
        "Name of this engine, the same on all its agents.",
        _Fixed.IDENTITY,
        one_line,
    )
    internal_api_server_enabled = boolean(True, "Whether the HTTP API is served.", _Fixed.LISTENING)
    internal_api_server_host = text(
        "127.0.0.1",
        "Address that the HTTP API binds to; not loopback needs agent_token.",
        _Fixed.LISTENING,
        one_line,
    )
    internal_api_server_port_start = integer(
        6999, "Port of the scheduler; worker 0 has the next one.", 1, 65_535, _Fixed.LISTENING
    )
    internal_api_server_include_index_list = optional_integers(
        "Which agents serve HTTP: 0 the scheduler, 1 worker 0, …; null means all.",
        0,
        _MAX_WORLD_SIZE,
        _Fixed.LISTENING,
    )
    extra_config = optional_object("Free-form settings for plug-ins.", _Fixed.OPENED)
    config_dirs = optional_texts(
        "Directories from which the API may read configuration files; null means the working "
        "directory and that of the agent's own configuration file.",
        _Fixed.TRUST,
    )
    agent_token = secret("Bearer token that every call but /health needs.", bearer_token)
    controlplane_url = optional_text(
        "Control plane that agents register with.", _Fixed.TRUST, http_url
    )
    enrolment_token = secret("Token for registering with the control plane.", bearer_token)
    model_name = text(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Model whose KV is cached; part of every chunk key.",
        _Fixed.IN_KEYS,
        one_line,
    )
    num_layers = integer(30, "Layers of the paged KV cache.", 1, 4_096, _Fixed.ALLOCATED)
    num_kv_heads = integer(
        3, "KV heads of one layer on one worker; 1 with MLA.", 1, 4_096, _Fixed.ALLOCATED
    )
    head_size = integer(
        64, "Elements of one head; of the latent vector with MLA.", 1, 65_536, _Fixed.ALLOCATED
    )
    kv_dtype = choice(
        "bfloat16",
        "Element type of the KV cache.",
        ("float16", "bfloat16", "float32"),
        _Fixed.ALLOCATED,
    )
    block_size = integer(
        16, "Slots in one block of the paged KV cache.", 1, 65_536, _Fixed.ALLOCATED
    )
    num_blocks = integer(512, "Blocks of the paged KV cache.", 1, 1 << 31, _Fixed.ALLOCATED)
    use_mla = boolean(
        False, "Whether the model uses multi-head latent attention.", _Fixed.ALLOCATED
    )
    device = choice(
        "auto",
        "Where the paged KV cache lies; auto is CUDA if present.",
        ("auto", "cpu", "cuda"),
        _Fixed.ALLOCATED,
    )
    serve_scheduler = boolean(
        True, "Whether this process serves the scheduler's agent.", _Fixed.LISTENING
    )
    worker_ids = integers(
        [0], "Workers whose agents this process serves.", 0, _MAX_WORLD_SIZE - 1, _Fixed.LISTENING
    )
    world_size = integer(
        1, "Workers of the engine, over all processes.", 1, _MAX_WORLD_SIZE, _Fixed.IN_KEYS
    )


KEYS: MappingProxyType[str, ConfigKey] = MappingProxyType(
    {
        setting.key.name: setting.key
        for setting in vars(Settings).values()
        if isinstance(setting, Setting)
    }
)
"""Every key by its name, in the order of definition."""
