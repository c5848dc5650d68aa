"""The parsers of all commands, for whoever describes or completes them."""

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator, Mapping

from django.core.management import get_commands, load_command_class

PROGRAM = "manage.py"
_OWN = "controlplane."


def own_parsers() -> Iterator[tuple[str, ArgumentParser]]:
    """Name and parser of each command of the control plane, by name."""
    for name, app in sorted(get_commands().items()):
        if isinstance(app, str) and app.startswith(_OWN):
            yield name, load_command_class(app, name).create_parser(PROGRAM, name)


def all_parsers() -> Iterator[tuple[str, ArgumentParser]]:
    """As own_parsers(), with those of Django and its packages."""
    for name, app in sorted(get_commands().items()):
        command = load_command_class(app, name) if isinstance(app, str) else app
        yield name, command.create_parser(PROGRAM, name)


def verbs_of(parser: ArgumentParser) -> Mapping[str, ArgumentParser]:
    """The parsers of a command's verbs; empty for a command without."""
    for action in actions_of(parser):
        if isinstance(action, _SubParsersAction):
            return dict(action.choices)
    return {}


def actions_of(parser: ArgumentParser) -> list[Action]:
    """The arguments of a parser. argparse has no other way to ask for them."""
    return list(parser._actions)


def groups_of(parser: ArgumentParser) -> Iterator[tuple[str, list[Action]]]:
    """The titled groups of a parser's arguments."""
    for group in parser._action_groups:
        yield str(group.title), list(group._group_actions)
