from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "controlplane.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Make the authentication scheme known to drf-spectacular."""
        from controlplane.accounts import schema  # noqa: F401
