"""Connections that are lost, kept, or closed: what is sent again, and what never."""

import pytest

from controlplane.forwarding import BadAgentAnswer
from controlplane.forwarding.curl import CurlTransport
from controlplane.forwarding.transport import WireRequest

from .servers import OK, call, keeping_server, raw_server

pytestmark = pytest.mark.django_db


def test_send__read_whose_connection_was_lost__is_sent_again(real_client, make_agent):
    with raw_server(b"", OK) as (url, received):
        answer = call(real_client, make_agent(url=url))

    assert answer.status == 200
    assert len(received) == 2


def test_send__change_whose_connection_was_lost__is_not_sent_again(real_client, make_agent):
    with raw_server(b"", OK) as (url, received), pytest.raises(BadAgentAnswer) as caught:
        call(real_client, make_agent(url=url), "enable_freeze")

    assert caught.value.body()["state"] == "unknown"
    assert len(received) == 1


def test_send__second_call__takes_the_kept_connection(real_client, make_agent):
    with keeping_server([OK, OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent)
        call(real_client, agent, "enable_freeze")

    assert [number for number, _ in server.received] == [0, 0]


def test_send__agent_closed_the_kept_connection__takes_another(real_client, make_agent):
    with keeping_server([OK], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent, "enable_freeze")
        assert server.hung_up.acquire(timeout=5)
        call(real_client, agent, "enable_freeze")

    assert [number for number, _ in server.received] == [0, 1]


@pytest.mark.parametrize("operation_id", ["enable_freeze", "clear_cache", "update_conf"])
def test_send__kept_connection_dies_under_a_change__is_not_sent_again(
    real_client, make_agent, operation_id
):
    with keeping_server([OK, b""], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent)
        with pytest.raises(BadAgentAnswer) as caught:
            call(real_client, agent, operation_id)

    assert caught.value.body()["state"] == "unknown"
    assert len(server.received) == 2


def test_send__kept_connection_dies_under_a_read__is_sent_again(real_client, make_agent):
    with keeping_server([OK, b""], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent, "enable_freeze")
        assert call(real_client, agent).status == 200

    assert [number for number, _ in server.received] == [0, 0, 1]


def test_transport__more_idle_connections_than_are_kept__drops_the_oldest():
    transport = CurlTransport(max_kept=1)
    with keeping_server([OK], [OK]) as first, keeping_server([OK]) as second:
        for base in (first.url, second.url, first.url):
            request = WireRequest("GET", base, "/", {}, None)
            assert transport.exchange(request, 5, 1000).status == 200

    assert transport._count == 1
    assert list(transport._idle) == [first.url]
    assert [number for number, _ in first.received] == [0, 1]
    transport.close()
    assert transport._count == 0
