from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class AgentViewSet(ForwardedViewSet):
    """An agent's own account of itself."""

    get_agent_status = forwarded("get_agent_status")
