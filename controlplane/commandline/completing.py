"""Scripts with which a shell completes commands, made from the parsers by shtab."""

from argparse import Action, ArgumentParser
from typing import Any

import shtab

from controlplane.commandline.parsers import PROGRAM, actions_of, all_parsers, verbs_of

SHELLS = ("bash", "zsh")
NAMED = ("agents", "engines")
"""What the scripts ask the database for, with `manage.py completion NAMED`."""
_ASKED = {"agent": "agents", "engine": "engines"}
_FILES = frozenset({"file", "output", "archive", "token_file"})
# Asked for with the program as it was typed; zsh has cut it off `words` by then.
_PREAMBLE = {
    "bash": "".join(
        f"""
_kvplane_{what}() {{
  compgen -W "$("${{COMP_WORDS[0]}}" completion {what} 2>/dev/null)" -- "$1"
}}
"""
        for what in NAMED
    ),
    "zsh": "".join(
        f"""
_kvplane_{what}() {{
  local -a names
  names=(${{(f)"$(${{_comp_command1}} completion {what} 2>/dev/null)"}})
  compadd -a names
}}
"""
        for what in NAMED
    ),
}


def completion_script(shell: str) -> str:
    """The script for one of SHELLS."""
    root = ArgumentParser(prog=PROGRAM)
    # Each command has made its parser by itself.
    taken: Any = _take
    commands = root.add_subparsers(parser_class=taken)
    for name, parser in all_parsers():
        for one in (parser, *verbs_of(parser).values()):
            for action in actions_of(one):
                _name_completer(action)
        commands.add_parser(name, help=_summary(parser), made=parser)
    script: str = shtab.complete(root, shell, root_prefix="kvplane", preamble=_PREAMBLE[shell])
    return script


def _take(*, made: ArgumentParser, **given: object) -> ArgumentParser:
    return made


def _name_completer(action: Action) -> None:
    if action.dest in _ASKED and action.nargs != 0 and action.choices is None:
        function = f"_kvplane_{_ASKED[action.dest]}"
        action.complete = dict.fromkeys(SHELLS, function)  # type: ignore[attr-defined]
    elif action.dest in _FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def _summary(parser: ArgumentParser) -> str:
    return str(parser.description or "").partition(". ")[0]
