"""The HTTP contract that every agent and the control plane serve alike.

Standard library only: a control-plane host imports this package and nothing
else of `engine`, so it needs neither torch nor vLLM.
"""

from engine.contract.catalogue import CATALOGUE, endpoint
from engine.contract.endpoint import (
    Component,
    Endpoint,
    ErrorCase,
    Group,
    Kind,
    Origin,
    Parameter,
    Role,
    Values,
)
from engine.contract.errors import (
    BodyTooLarge,
    ContractError,
    InvalidBody,
    InvalidParameter,
    MissingParameters,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from engine.contract.requests import (
    MAX_BODY_BYTES,
    Query,
    parse_json_object,
    parse_query,
    read_parameters,
)
from engine.contract.values import (
    MAX_SLOTS,
    SlotRun,
    TokenRange,
    compress_slots,
    count_slots,
    parse_bool,
    parse_int,
    parse_names,
    parse_slot_mapping,
    parse_token_range,
)

__all__ = [
    "CATALOGUE",
    "MAX_BODY_BYTES",
    "MAX_SLOTS",
    "BodyTooLarge",
    "Component",
    "ContractError",
    "Endpoint",
    "ErrorCase",
    "Group",
    "InvalidBody",
    "InvalidParameter",
    "Kind",
    "MissingParameters",
    "Origin",
    "Parameter",
    "Query",
    "Role",
    "SlotRun",
    "TokenRange",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "Values",
    "compress_slots",
    "count_slots",
    "endpoint",
    "parse_bool",
    "parse_int",
    "parse_json_object",
    "parse_names",
    "parse_query",
    "parse_slot_mapping",
    "parse_token_range",
    "read_parameters",
]
