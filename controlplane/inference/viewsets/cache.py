from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class CacheViewSet(ForwardedViewSet):
    """An agent's cached KV, and its paged KV cache."""

    clear_cache = forwarded("clear_cache")
    store_cache = forwarded("store_cache")
    retrieve_cache = forwarded("retrieve_cache")
    check_kvcache = forwarded("check_kvcache")
    record_slot = forwarded("record_slot")
    get_kvcache_info = forwarded("get_kvcache_info")
    load_fs_chunks = forwarded("load_fs_chunks")
