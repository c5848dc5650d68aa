"""Who guesses passwords has to wait: django-axes counts failed logins by name and address."""

from django.http import HttpRequest

from controlplane.accounts.actors import source_address


def address_of(request: HttpRequest) -> str | None:
    """The address that the attempts are counted by; None: the server does not know it."""
    return source_address(request) or None
