from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class VersionViewSet(ForwardedViewSet):
    """Which build of the engine an agent runs."""

    get_lmc_version = forwarded("get_lmc_version")
    get_commit_id = forwarded("get_commit_id")
    get_version = forwarded("get_version")
