from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class BypassViewSet(ForwardedViewSet):
    """Storage backends that are left out of everything."""

    list_bypassed = forwarded("list_bypassed")
    add_bypass = forwarded("add_bypass")
    remove_bypass = forwarded("remove_bypass")
