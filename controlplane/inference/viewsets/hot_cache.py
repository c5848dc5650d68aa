from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class HotCacheViewSet(ForwardedViewSet):
    """The hot cache of LocalCPUBackend."""

    enable_hot_cache = forwarded("enable_hot_cache")
    disable_hot_cache = forwarded("disable_hot_cache")
    get_hot_cache_status = forwarded("get_hot_cache_status")
