from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "controlplane.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Make the authentication scheme known to drf-spectacular, and listen
        to logins and logouts."""
        from controlplane.accounts import schema, sessions  # noqa: F401
