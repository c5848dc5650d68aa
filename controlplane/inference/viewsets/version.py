from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class VersionViewSet(ForwardedViewSet):
    """Which build of the engine an agent runs."""

    lmc_version = forwarded("lmc_version")
    commit_id = forwarded("commit_id")
    version = forwarded("version")
