from controlplane.inference.forwarded import ForwardedViewSet, forwarded


class ChunkStatisticsViewSet(ForwardedViewSet):
    """How many chunks of looked-up prompts were looked up before."""

    start_chunk_statistics = forwarded("start_chunk_statistics")
    stop_chunk_statistics = forwarded("stop_chunk_statistics")
    reset_chunk_statistics = forwarded("reset_chunk_statistics")
    get_chunk_statistics_status = forwarded("get_chunk_statistics_status")
