from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class InfoViewSet(ForwardedViewSet):
    """What vLLM an agent lives in."""

    inference_info = forwarded("inference_info")
    inference_version = forwarded("inference_version")
