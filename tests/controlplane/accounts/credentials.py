"""How a caller shows who it is."""

from rest_framework.test import APIClient

PASSWORD = "correct-horse-battery-staple"


def bearer(plaintext: str) -> APIClient:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {plaintext}")
    return api
