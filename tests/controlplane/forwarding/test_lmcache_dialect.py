"""Agents that speak LMCache's dialect: their answers become the contract's."""

import json

import pytest

from controlplane.fleet.models import Dialect
from controlplane.forwarding import NotCallable, send
from engine.contract import Role, endpoint
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


def lmcache(agents, agent, operation_id, response, query=""):
    agents.respond = lambda request: response
    return send(agent, endpoint(operation_id), query=query, body=None, request_id="r", timeout=5.0)


class TestLMCacheDialect:
    @pytest.fixture
    def peer(self, make_agent):
        return make_agent(dialect=Dialect.LMCACHE)

    def test_conf__json_as_plain_text__becomes_json(self, agents, peer):
        answer = lmcache(
            agents, peer, "get_conf", reply({"chunk_size": 256}, media_type="text/plain")
        )

        assert answer.media_type == "application/json"
        assert json.loads(answer.body) == {"chunk_size": 256}

    def test_version__in_quotes__becomes_bare_text(self, agents, peer):
        answer = lmcache(agents, peer, "get_lmc_version", reply("0.5.6"))

        assert (answer.media_type, answer.body) == ("text/plain", b"0.5.6")

    def test_conf_update__failed_in_part_with_200__becomes_400(self, agents, peer):
        body = {"updated": {"a": 1}, "errors": {"b": "Unknown config"}}
        answer = lmcache(agents, peer, "update_conf", reply(body))

        assert (answer.status, answer.document) == (400, body)

    @pytest.mark.parametrize(
        ("operation_id", "wrap"), [("get_conf", None), ("update_conf", "updated")]
    )
    def test_conf__secrets__are_not_shown(self, agents, peer, operation_id, wrap):
        conf = {
            "remote_url": "redis://:hunter2@h:1",
            "agent_token": "hunter2",
            "extra_config": {"s3_secret_key": "hunter2", "size": 1},
        }
        response = reply({wrap: conf} if wrap else conf)
        answer = lmcache(agents, peer, operation_id, response)

        shown = {
            "remote_url": "redis://***@h:1",
            "agent_token": "***",
            "extra_config": {"s3_secret_key": "***", "size": 1},
        }
        assert answer.document == ({wrap: shown} if wrap else shown)
        assert json.loads(answer.body) == answer.document

    @pytest.mark.parametrize(
        ("status", "name"), [(499, "Status 499"), (500, "Internal server error")]
    )
    def test_error__any_status__has_a_name(self, agents, peer, status, name):
        answer = lmcache(agents, peer, "get_conf", reply({"detail": "no"}, status))

        assert answer.status == status
        assert answer.document == {"error": name, "message": "no"}

    def test_conf__error_with_a_secret__does_not_show_it(self, agents, peer):
        response = reply({"detail": "cannot reach redis://:hunter2@h:1"}, 500)
        answer = lmcache(agents, peer, "get_conf", response)

        assert b"hunter2" not in answer.body

    def test_conf__name_dropped_in_silence__becomes_400(self, agents, peer):
        response = reply({"chunk_size": 256}, media_type="text/plain")
        answer = lmcache(agents, peer, "get_conf", response, "names=chunk_size,nonsense")

        assert answer.status == 400
        assert "nonsense" in answer.document["message"]

    def test_inference_version__500__becomes_503(self, agents, peer):
        response = reply({"error": "Failed", "message": "No module"}, 500)
        answer = lmcache(agents, peer, "get_inference_version", response)

        assert answer.status == 503
        assert answer.document["error"] == "/inference_version API is unavailable"

    def test_error_of_its_framework__becomes_the_contracts(self, agents, peer):
        response = reply({"detail": [{"msg": "field required"}]}, 422)
        answer = lmcache(agents, peer, "get_kvcache_info", response)

        assert answer.status == 400
        assert set(answer.document) == {"error", "message"}

    @pytest.mark.parametrize("role", [Role.SCHEDULER, Role.WORKER])
    def test_lookup_info__no_role__is_the_one_that_is_registered(self, agents, make_agent, role):
        peer = make_agent(role=role, dialect=Dialect.LMCACHE)
        response = reply({"client": "None", "server": "None"})
        answer = lmcache(agents, peer, "get_lookup_info", response)

        assert answer.document == {"client": "None", "server": "None", "role": role.value}

    def test_lookup_create__dryrun__is_sent(self, agents, peer):
        response = reply({"new": "LMCacheLookupClient", "dryrun": True, "role": "scheduler"})
        answer = lmcache(agents, peer, "create_lookup", response, "dryrun=true")

        assert answer.document["dryrun"] is True

    @pytest.mark.parametrize(
        ("operation_id", "query"),
        [
            ("get_conf_schema", ""),
            ("get_agent_status", ""),
            ("update_conf", "atomic=true"),
            ("recreate_lookup", "dryrun=true"),
            ("close_lookup", "dryrun=1"),
            ("query_lookup", "tokens_mock=0,16"),
        ],
    )
    def test_our_additions__are_501_and_nothing_is_sent(self, agents, peer, operation_id, query):
        with pytest.raises(NotCallable) as caught:
            lmcache(agents, peer, operation_id, reply({}), query)

        assert caught.value.status == 501
        assert caught.value.body()["state"] == "unchanged"
        assert agents.requests == []
