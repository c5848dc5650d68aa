from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class FreezeViewSet(ForwardedViewSet):
    """Freeze mode: the local CPU cache does not change."""

    enable_freeze = forwarded("enable_freeze")
    disable_freeze = forwarded("disable_freeze")
    get_freeze_status = forwarded("get_freeze_status")
