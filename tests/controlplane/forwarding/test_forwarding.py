"""Calling agents over a real socket, and reading LMCache's habits."""

import socket

import pytest

from controlplane.forwarding import AgentUnreachable, BadAgentAnswer
from engine.contract import endpoint

from .servers import OK, call, keeping_server, raw_server

pytestmark = pytest.mark.django_db


def test_send__agent_answers__bytes_pass_unchanged(real_client, make_agent):
    with raw_server(OK) as (url, received):
        answer = call(real_client, make_agent(url=url))

    assert (answer.status, answer.body) == (200, b'{"freeze": 1}')
    assert b"authorization: bearer agent-secret-1" in received[0].lower()


def test_send__change_without_a_body__sends_none(real_client, make_agent):
    with keeping_server([OK, OK]) as server:
        agent = make_agent(url=server.url)
        real_client.send(
            agent,
            endpoint("update_conf"),
            query="a=%2F&b=x,y",
            body=b'{"a": 1}',
            request_id="r",
            timeout=5,
        )
        call(real_client, agent, "enable_freeze")

    with_body, without = (request.decode("ascii").lower() for _, request in server.received)
    assert with_body.startswith("post /conf?a=%2f&b=x,y http/1.1\r\n")
    assert "content-type: application/json\r\n" in with_body
    assert with_body.endswith('content-length: 8\r\n\r\n{"a": 1}')
    assert without.startswith("put /freeze/enable http/1.1\r\n")
    assert "content-type" not in without
    assert without.endswith("content-length: 0\r\n\r\n")


def test_send__body_is_long__is_sent_without_asking_first(real_client, make_agent):
    with keeping_server([OK]) as server:
        real_client.send(
            make_agent(url=server.url),
            endpoint("update_conf"),
            query="",
            body=b" " * (2 << 20),
            request_id="r",
            timeout=5,
        )

    assert b"expect" not in server.received[0][1].lower()


def test_send__answer_in_chunks__is_put_together(real_client, make_agent):
    chunked = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        b'5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n'
    )
    with raw_server(chunked) as (url, _):
        assert call(real_client, make_agent(url=url)).body == b'{"a": 1}'


def test_send__agent_at_an_ipv6_address__is_called(real_client, make_agent):
    with keeping_server([OK], host="::1") as server:
        assert call(real_client, make_agent(url=server.url)).status == 200

    assert (
        f"host: {server.url.removeprefix('http://')}\r\n".encode() in server.received[0][1].lower()
    )


@pytest.mark.parametrize("query", ["a=1#b", "a=1 b", "a=1\r\nx: y", "a=\u00e9"])
def test_send__query_that_cannot_be_sent_as_it_is__is_502(real_client, make_agent, query):
    with raw_server(OK) as (url, received), pytest.raises(AgentUnreachable) as caught:
        real_client.send(
            make_agent(url=url),
            endpoint("enable_freeze"),
            query=query,
            body=None,
            request_id="r",
            timeout=5,
        )

    assert caught.value.body()["state"] == "unchanged"
    assert received == []


@pytest.mark.parametrize("request_id", ["r\r\nx: y", "r\u00e9"])
def test_send__header_that_cannot_be_sent__is_502(real_client, make_agent, request_id):
    with raw_server(OK) as (url, received), pytest.raises(AgentUnreachable):
        real_client.send(
            make_agent(url=url),
            endpoint("enable_freeze"),
            query="",
            body=None,
            request_id=request_id,
            timeout=5,
        )

    assert received == []


def test_send__agent_that_speaks_no_tls__is_502_and_state_unchanged(real_client, make_agent):
    with raw_server(OK) as (url, _), pytest.raises(AgentUnreachable) as caught:
        call(real_client, make_agent(url=url.replace("http:", "https:")), "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


@pytest.mark.parametrize("url", ["http://a..b:80", f"http://{'a' * 64}.b:80", "http://xn--:80"])
def test_send__stored_url_cannot_be_called__is_502_and_state_unchanged(
    real_client, make_agent, url
):
    agent = make_agent()
    agent.url = url
    with pytest.raises(AgentUnreachable) as caught:
        call(real_client, agent, "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


def test_send__nobody_listens__is_502_and_state_unchanged(real_client, make_agent):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        agent = make_agent(url=f"http://127.0.0.1:{port}")
        with pytest.raises(AgentUnreachable) as caught:
            call(real_client, agent, "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
        OK.replace(b"200 OK", b"302 Found\r\nlocation: http://127.0.0.1:1/"),
        OK.replace(b'{"freeze": 1}', b"not json at a"),
        OK.replace(b'{"freeze": 1}', b'{"freeze":NaN'),
        OK.replace(b'{"freeze": 1}', b"\xff" * 13),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 828\r\n\r\n"
        + b'{"a":' * 129
        + b"1" * 54
        + b"}" * 129,
        OK.replace(b"application/json", b"text/html"),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + b"1" * 5000,
    ],
)
def test_send__answer_that_is_none__is_502(real_client, make_agent, reply):
    with raw_server(reply, reply) as (url, _), pytest.raises(BadAgentAnswer) as caught:
        call(real_client, make_agent(url=url))

    assert caught.value.status == 502
    assert caught.value.body()["agent"] == "worker-0"


def test_send__proxy_in_the_environment__is_not_used(real_client, make_agent, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with raw_server(OK) as (url, _):
        assert call(real_client, make_agent(url=url)).status == 200
