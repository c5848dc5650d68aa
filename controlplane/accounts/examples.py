"""Examples for the OpenAPI document."""

USER = {
    "id": 2,
    "username": "anna",
    "email": "anna@example.org",
    "role": "operator",
    "is_active": True,
    "date_joined": "2026-11-23T20:00:00Z",
    "last_login": None,
}
NEW_USER = {
    "username": "anna",
    "password": "correct-horse-battery-staple",
    "email": "anna@example.org",
    "role": "operator",
}
USER_CHANGES = {"role": "viewer"}
TOKEN = {
    "id": 7,
    "name": "grafana",
    "user": "anna",
    "role": "viewer",
    "prefix": "kvp_7mX2aQ",
    "created_at": "2026-11-23T21:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}
NEW_TOKEN = {"name": "grafana", "role": "viewer"}
ISSUED_TOKEN = {"token": "kvp_7mX2aQ…", "details": TOKEN}
