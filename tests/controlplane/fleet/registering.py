"""An agent to register."""

from rest_framework.test import APIClient

WORKER = {
    "name": "worker-0",
    "engine": "engine-a",
    "role": "worker",
    "worker_id": 0,
    "url": "http://10.0.0.7:7000",
    "token": "hush-hush-1",
}


def post(api: APIClient, changes: dict[str, object]):
    return api.post("/api/v1/agents/", {**WORKER, **changes}, format="json")
