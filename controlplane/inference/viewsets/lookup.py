from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class LookupViewSet(ForwardedViewSet):
    """How much of a prompt is cached: a scheduler's client, the workers' servers."""

    get_lookup_info = forwarded("get_lookup_info")
    close_lookup = forwarded("close_lookup")
    create_lookup = forwarded("create_lookup")
    recreate_lookup = forwarded("recreate_lookup")
    query_lookup = forwarded("query_lookup")
