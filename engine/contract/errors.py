"""What a caller can do wrong, and what a process can lack, as exceptions.

    ContractError
    ├── Unauthorized            401
    ├── InvalidParameter        400
    │   └── MissingParameters   400
    ├── InvalidBody             400
    │   └── BodyTooLarge        400
    ├── UnsupportedMediaType    415
    └── Unavailable             503

Each knows its HTTP status and its body; a server turns it into an answer
without looking at its type.
"""

from collections.abc import Mapping


class ContractError(Exception):
    """A request that gets an error answer.

    `error` is short and stable, for programs. `message` says what is wrong and
    what to do about it, for people. `extra` holds the further fields that the
    documented body of this error shows.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{status} {error}: {message}")
        self.status = status
        self.error = error
        self.message = message
        self.extra = dict(extra or {})

    def body(self) -> dict[str, object]:
        """The JSON body of the answer."""
        return {"error": self.error, "message": self.message, **self.extra}


class Unauthorized(ContractError):
    """The bearer token is missing or wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(401, "Unauthorized", message)


class InvalidParameter(ContractError):
    """A query parameter whose value cannot be used; `parameter` is its name."""

    def __init__(self, parameter: str, message: str, error: str = "Invalid parameter") -> None:
        super().__init__(400, error, message)
        self.parameter = parameter


class MissingParameters(InvalidParameter):
    """A parameter that the endpoint cannot do without is absent or blank."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(parameter, message, error="Missing parameters")


class InvalidBody(ContractError):
    """The request body is not the JSON object that the endpoint takes."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "Invalid JSON body", message)


class BodyTooLarge(InvalidBody):
    """The request body is longer than any that the contract needs."""

    def __init__(self, num_bytes: int, most: int) -> None:
        super().__init__(f"The body has {num_bytes} bytes; at most {most} are read.")


class UnsupportedMediaType(ContractError):
    """The request body is not declared as JSON."""

    def __init__(self, media_type: str) -> None:
        super().__init__(
            415,
            "Unsupported media type",
            f"This endpoint takes 'application/json', not '{media_type}'. "
            "Send the header 'Content-Type: application/json'.",
        )


class Unavailable(ContractError):
    """This process does not have the component behind the endpoint."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(503, f"{path} API is unavailable", message)
