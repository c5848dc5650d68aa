from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class MetaViewSet(ForwardedViewSet):
    """What an agent's engine caches for."""

    get_meta = forwarded("get_meta")
