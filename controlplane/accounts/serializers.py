"""Users and tokens as JSON. No serializer has a field for a stored secret."""

from datetime import datetime

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils import timezone
from rest_framework import serializers
from rest_framework.validators import UniqueValidator

from controlplane.accounts import examples
from controlplane.accounts.models import ApiToken, User, UserRole, one_line
from controlplane.accounts.services import IssuedToken
from controlplane.rest.examples import sent, shown

_ROLES = "A viewer reads, an operator changes, an admin also manages agents, users and tokens."


def in_the_future(moment: datetime) -> None:
    """Raises ValidationError for a moment that has passed."""
    if moment <= timezone.now():
        raise serializers.ValidationError("Give a moment in the future, or leave it out.")


@shown(examples.USER)
class UserSerializer(serializers.ModelSerializer[User]):
    """A user; `role` is the role that counts."""

    # Not an EmailField: the document would promise an address where none was given.
    email = serializers.CharField(read_only=True, help_text='"" if none was given.')
    role = serializers.ChoiceField(choices=UserRole.choices, source="access_role")

    class Meta:
        model = User
        fields = ["id", "username", "email", "role", "is_active", "date_joined", "last_login"]
        read_only_fields = fields


@sent("A person", examples.NEW_USER)
class NewUserSerializer(serializers.Serializer[User]):
    """What is needed to make a user."""

    username = serializers.CharField(
        max_length=150,
        validators=[
            UnicodeUsernameValidator(),
            UniqueValidator(User.objects.all(), "A user of that name exists; choose another."),
        ],
        help_text="Letters, digits and @ . + - _",
        style={"placeholder": "ada"},
    )
    password = serializers.CharField(
        max_length=128,
        write_only=True,
        trim_whitespace=False,
        help_text="At least 8 characters, neither common nor only digits nor like the name.",
        style={"input_type": "password"},
    )
    email = serializers.EmailField(
        max_length=254,
        allow_blank=True,
        default="",
        help_text="May be left out.",
        style={"placeholder": "ada@example.org"},
    )
    role = serializers.ChoiceField(choices=UserRole.choices, help_text=_ROLES)


@sent("Another role", examples.USER_CHANGES)
class UserChangesSerializer(serializers.Serializer[User]):
    """What can be changed about a user; only what is given is changed."""

    email = serializers.EmailField(
        max_length=254, allow_blank=True, required=False, help_text='"" takes it away.'
    )
    role = serializers.ChoiceField(choices=UserRole.choices, required=False, help_text=_ROLES)
    is_active = serializers.BooleanField(
        required=False, help_text="false: cannot log in, and their tokens are useless."
    )
    password = serializers.CharField(
        max_length=128,
        write_only=True,
        required=False,
        trim_whitespace=False,
        help_text="A new one; left out: as it is.",
        style={"input_type": "password"},
    )


@shown(examples.TOKEN)
class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token without the token."""

    user = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = ApiToken
        fields = [
            "id",
            "name",
            "user",
            "role",
            "prefix",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ]
        read_only_fields = fields


@sent("A token of one's own", examples.NEW_TOKEN)
class NewTokenSerializer(serializers.Serializer[ApiToken]):
    """What is needed to make a token."""

    name = serializers.CharField(
        max_length=128,
        validators=[one_line],
        help_text="What the token is for.",
        style={"placeholder": "grafana"},
    )
    role = serializers.ChoiceField(
        choices=UserRole.choices, help_text="At most the role of the user."
    )
    expires_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        default=None,
        validators=[in_the_future],
        help_text="When it ends to be good; left out: never.",
    )
    user = serializers.CharField(
        max_length=150,
        required=False,
        help_text="Whose token; only admins name somebody else. Left out: yours.",
        style={"placeholder": "ada"},
    )


@shown(examples.ISSUED_TOKEN)
class IssuedTokenSerializer(serializers.Serializer[IssuedToken]):
    """A token just made, with the token: shown this once."""

    token = serializers.CharField(source="plaintext", read_only=True)
    details = TokenSerializer(source="token", read_only=True)
