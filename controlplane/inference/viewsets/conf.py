from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class ConfViewSet(ForwardedViewSet):
    """An agent's configuration."""

    get_conf = forwarded("get_conf")
    update_conf = forwarded("update_conf")
    get_conf_schema = forwarded("get_conf_schema")
