"""`conf set`: values out of arguments, or out of a file."""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from controlplane.commandline.changing import Change
from controlplane.commandline.refusals import BadArgument
from controlplane.operations.effects import Wishes
from controlplane.operations.planning import Plan
from controlplane.rest.parsers import has_nul
from engine.contract import ContractError, parse_int, parse_json_object

_MAX_REVISION = (1 << 31) - 1


class SetConf(Change):
    """Changes keys of the configuration."""

    def add_body(self, parser: ArgumentParser) -> None:
        """The keys and values."""
        parser.add_argument(
            "assignments",
            nargs="*",
            metavar="KEY=VALUE",
            help="A key and its value as JSON; what is no JSON is text.",
        )
        parser.add_argument(
            "--file",
            help="A file with a JSON object of keys and values, - for standard input: the place "
            "for secrets, which other users of this machine can read in arguments.",
        )
        parser.add_argument(
            "--expected-revision",
            metavar="NUMBER",
            help="The revision that the change builds on; refused if another one is active.",
        )

    def body(self, options: Mapping[str, Any]) -> dict[str, object]:
        """Raises BadArgument."""
        values = _read_file(options["file"]) if options["file"] else {}
        for text in options["assignments"]:
            key, equals, value = text.partition("=")
            if not (key and equals):
                raise BadArgument("KEY=VALUE", f"'{text}' has no '='.")
            if key in values:
                raise BadArgument("KEY=VALUE", f"'{key}' is given twice.")
            values[key] = _read(value)
        if not values:
            raise BadArgument("KEY=VALUE", "give at least one, or --file.")
        return values

    def on_record(self, options: Mapping[str, Any]) -> dict[str, object]:
        """Keys without their values, any of which may be a secret."""
        keys = [f"{text.partition('=')[0]}=***" for text in options["assignments"]]
        return {**super().on_record(options), "assignments": keys}

    def refine(self, plan: Plan, options: Mapping[str, Any]) -> Plan:
        """With the revision that it builds on."""
        text = options["expected_revision"]
        if text is None:
            return plan
        number = parse_int("expected_revision", text, minimum=0, maximum=_MAX_REVISION)
        return replace(plan, wishes=Wishes(expected_revision=number))


def _read(text: str) -> object:
    """JSON as the body of a request is read, so that nothing passes that it would refuse."""
    try:
        read = parse_json_object(f'{{"value":{text}}}'.encode())
    except ContractError:
        return text
    return read["value"] if len(read) == 1 else text


def _read_file(path: str) -> dict[str, object]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArgument("--file", str(error)) from None
    values = dict(parse_json_object(text.encode()))
    if has_nul(values):
        raise BadArgument("--file", r"a string has a NUL character (\u0000); leave it out.")
    return values
