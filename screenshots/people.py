"""The people and programs that change things, each with a token of their own."""

from dataclasses import dataclass

import httpx

from screenshots.stage import Stage
from tests.support.controlplane import PASSWORD

_WAIT_SECONDS = "30"


@dataclass(frozen=True)
class Person:
    """Somebody who calls the API."""

    client: httpx.Client

    def change(
        self, action: str, agents: list[str], reason: str, **more: object
    ) -> dict[str, object]:
        """An operation, waited for as long as it lasts within half a minute; the
        operation. Raises httpx.HTTPStatusError."""
        return self.send(
            "POST",
            f"/api/v1/operations/?wait={_WAIT_SECONDS}",
            {"action": action, "selector": {"agents": agents}, "reason": reason, **more},
        )

    def send(self, method: str, path: str, document: dict[str, object]) -> dict[str, object]:
        """What came of it. Raises httpx.HTTPStatusError."""
        return _document(self.client.request(method, path, json=document))

    def list(self, path: str, **params: str) -> list[dict[str, object]]:
        """The rows of a resource. Raises httpx.HTTPStatusError."""
        rows: list[dict[str, object]] = _document(self.client.get(path, params=params))["results"]
        return rows


@dataclass(frozen=True)
class People:
    """An admin, an operator, a program that deploys, and somebody who may only look."""

    anna: Person
    ben: Person
    deploy: Person
    carla: Person


def invite(stage: Stage) -> People:
    """Make users and tokens, as their admin does. Raises httpx.HTTPStatusError."""
    anna = Person(stage.client(stage.admin_token))
    tokens = {}
    for name, role, token in (
        ("ben", "operator", "laptop"),
        ("release", "operator", "pipeline"),
        ("carla", "viewer", "notebook"),
    ):
        anna.send("POST", "/api/v1/users/", {"username": name, "password": PASSWORD, "role": role})
        made = anna.send("POST", "/api/v1/tokens/", {"name": token, "role": role, "user": name})
        tokens[name] = str(made["token"])
    ben, release, carla = (Person(stage.client(tokens[name])) for name in tokens)
    return People(anna, ben, release, carla)


def _document(answer: httpx.Response) -> dict[str, object]:
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    document: dict[str, object] = answer.json()
    return document
