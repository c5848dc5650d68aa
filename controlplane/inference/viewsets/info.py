from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class InfoViewSet(ForwardedViewSet):
    """What vLLM an agent lives in."""

    get_inference_info = forwarded("get_inference_info")
    get_inference_version = forwarded("get_inference_version")
