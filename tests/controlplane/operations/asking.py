"""Operations over many agents, asked for over the API."""

from controlplane.forwarding.transport import NotSent

URL = "/api/v1/operations/"


def start(api, wait="10", key=None, **asked):
    headers = {} if key is None else {"idempotency-key": key}
    asked = {"action": "freeze.enable", "selector": {"everybody": True}, **asked}
    return api.post(f"{URL}?wait={wait}", data=asked, format="json", headers=headers)


def done(api, **asked) -> dict:
    answer = start(api, **asked)
    assert answer.status_code == 200, answer.content
    return answer.json()


def states(operation: dict) -> dict[str, str]:
    return {target["agent"]: target["state"] for target in operation["targets"]}


def refuse(method, path):
    raise NotSent("Connection refused")


def five(fleet):
    return [fleet(f"worker-{number}")[1] for number in range(5)]
