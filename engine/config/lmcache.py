"""Keys of LMCache's configuration (0.5.x, `lmcache/v1/config.py`) that mean
nothing here. A file that was written for LMCache loads; they are ignored."""

_NAMES = """
    reserve_local_cpu_size local_disk_path_sharding use_layerwise pre_caching_hash_algorithm
    enable_blending blend_recompute_ratios blend_thresholds blend_check_layers
    blend_min_tokens blend_special_str enable_p2p p2p_host p2p_init_ports p2p_lookup_ports
    mp_host mp_port enable_controller controller_pull_url controller_reply_url
    lmcache_worker_ports lmcache_worker_ids lmcache_worker_heartbeat_delay_time
    lmcache_worker_heartbeat_time enable_pd pd_role pd_buffer_size pd_buffer_device
    pd_peer_host pd_peer_init_port pd_peer_alloc_port pd_peer_query_port pd_proxy_host
    pd_proxy_port pd_allocation_timeout_sec pd_shutdown_timeout_sec
    pd_condition_poll_interval_sec pd_max_prefill_len pd_backend_mode
    pd_skip_proxy_notification pd_bidirectional transfer_channel nixl_backends
    nixl_buffer_size nixl_buffer_device gds_path gds_path_sharding gds_buffer_size maru_path
    maru_pool_size use_gds gds_backend audit_actual_remote_url external_lookup_client
    py_enable_gc cost_aware_half_life_seconds cost_aware_ewma_alpha numa_mode priority_limit
    internal_api_server_socket_path_prefix runtime_plugin_locations storage_plugins
    remote_storage_plugins script_allowed_imports lazy_memory_safe_size enable_kv_events
    use_gpu_connector_v3 remote_config_url app_id enable_hidden_state_cache
    max_hidden_state_cpu_size hidden_state_layers hidden_states_retrieve_mode enable_xpyd
    nixl_peer_host nixl_peer_init_port nixl_peer_alloc_port nixl_proxy_host nixl_proxy_port
    nixl_role nixl_peer_port nixl_receiver_port controller_url lmcache_worker_port
    plugin_locations external_backends cufile_buffer_size
"""

LMCACHE_ONLY = frozenset(_NAMES.split())
