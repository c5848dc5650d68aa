"""The forms behind the admin pages of users and tokens."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.password_validation import validate_password

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.services import LastAdmin, is_last_admin

# Generic for the type checker only: at run time django's class takes no argument.
if TYPE_CHECKING:
    _UserForm = forms.ModelForm[User]
    _ApiTokenForm = forms.ModelForm[ApiToken]
else:
    _UserForm = forms.ModelForm
    _ApiTokenForm = forms.ModelForm


class UserForm(_UserForm):
    """A user; the password is set here and never shown."""

    new_password = forms.CharField(
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Leave empty to keep the present one.",
    )

    class Meta:
        model = User
        fields = ("username", "email", "role", "is_active")

    def clean_new_password(self) -> str:
        """The password. Raises ValidationError for a weak one, or none for a
        new user."""
        password: str = self.cleaned_data["new_password"]
        if password:
            validate_password(password, self.instance)
        elif self.instance.pk is None:
            raise forms.ValidationError("A new user needs a password.")
        return password

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError for what leaves no admin."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        is_admin = self.instance.is_superuser or data.get("role") == UserRole.ADMIN
        stays = is_admin and data.get("is_active")
        if self.instance.pk is not None and not stays and is_last_admin(self.instance):
            raise forms.ValidationError(LastAdmin().message)
        return data


class ApiTokenForm(_ApiTokenForm):
    """A token to be made."""

    class Meta:
        model = ApiToken
        fields = ("user", "name", "role", "expires_at")

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError for a role above the user's."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        user, role = data.get("user"), data.get("role")
        if user is not None and role and not user.access_role.includes(UserRole(role)):
            self.add_error("role", f"{user} is {user.access_role}; choose that or less.")
        return data
