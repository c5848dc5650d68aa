"""docs/commands.md, made from the parsers."""

from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterable, Iterator

from django.core.management.base import DjangoHelpFormatter

from controlplane.commandline.exits import Exit
from controlplane.commandline.parsers import actions_of, groups_of, own_parsers, verbs_of

_COMMON = ("selectors", "rollout")
_EVERYWHERE = frozenset({*DjangoHelpFormatter.show_last, "--verbosity", "--json"})
_INTRODUCTION = """\
# Commands

Made by `make docs` from the program itself; do not edit.

`manage.py COMMAND [VERB] …` works on the control plane's database and calls agents by the same way
as the API: what it changes is an operation, checked, refused and audited alike, with the system
account that runs it as the actor. Whoever may run it needs no token, so guard the account.

- `--json` prints one JSON document and nothing else on standard output: an operation as the API
  shows it, or `{"error", "message", …}`. Tables are for people and may change.
- `--dry-run` says what would be sent to whom. Nothing is sent and nothing is written.
- Lengths of time are written `90s`, `20m`, `2h` or `1d`; moments as `2030-01-31T12:00Z`.
- An operation over several agents is carried out by the process that runs the command, with a
  progress bar where standard error is a terminal. Ctrl-C, or the end of `--wait`, leaves the rest
  of it to the controllers and tells its id.
- A run that could have changed something and was refused is on record as `command.run`. Reads are
  on record as `KVPLANE_AUDIT_READS` wants, those of agents with an entry for each agent.
- `-v 2` shows the log, with the tracebacks of what failed.
"""
_COMPLETION = """\
## Completion in the shell

```sh
source .venv/bin/activate
source <(./manage.py completion bash)                        # bash, for this shell
./manage.py completion zsh > ~/.zfunc/_manage.py             # zsh, with ~/.zfunc in $fpath
```

It completes commands, verbs, options and their choices at once, and asks the database for the
names of agents and engines. It works for `manage.py` and `./manage.py`, not behind `python`.
"""


def document() -> str:
    """The whole text, in Markdown."""
    parsers = dict(own_parsers())
    example = verbs_of(parsers["freeze"])["enable"]
    parts = [_INTRODUCTION, _exits(), *_common_groups(example), _COMPLETION]
    for name, parser in parsers.items():
        parts += _command(name, parser)
    return "\n".join(parts).rstrip() + "\n"


def _exits() -> str:
    rows = (f"| {exit_.value} | {exit_.meaning} |" for exit_ in Exit)
    return "\n".join(("## Exit status", "", "| status | meaning |", "| --- | --- |", *rows, ""))


def _common_groups(parser: ArgumentParser) -> Iterator[str]:
    for title, actions in groups_of(parser):
        if title in _COMMON:
            description = next(
                str(group.description) for group in parser._action_groups if group.title == title
            )
            yield "\n".join((f"## {title.capitalize()}", "", description, "", *_rows(actions), ""))


def _command(name: str, parser: ArgumentParser) -> Iterator[str]:
    yield f"## {name}\n\n{parser.description}\n"
    verbs = verbs_of(parser)
    if not verbs:
        yield _arguments(name, parser)
    for verb, made in verbs.items():
        yield f"### {name} {verb}\n\n{made.description}\n"
        yield _arguments(f"{name} {verb}", made)


def _arguments(name: str, parser: ArgumentParser) -> str:
    groups = {title: actions for title, actions in groups_of(parser) if title in _COMMON}
    elsewhere = [action for actions in groups.values() for action in actions]
    own = [action for action in actions_of(parser) if action not in elsewhere and _is_own(action)]
    positional = [f"{_metavar(action)}" for action in own if not action.option_strings]
    taken = "".join(f" [{title}]" for title in groups)
    usage = " ".join(["manage.py", name, *positional]) + f"{taken} [options]"
    return "\n".join(("```", usage, "```", "", *_rows(own), ""))


def _is_own(action: Action) -> bool:
    """Not what each command has."""
    if action.help == SUPPRESS or action.dest == "help":
        return False
    return not set(action.option_strings) & _EVERYWHERE


def _rows(actions: Iterable[Action]) -> list[str]:
    rows = [f"| {_name(action)} | {_meaning(action)} |" for action in actions]
    return ["| argument | meaning |", "| --- | --- |", *rows] if rows else []


def _name(action: Action) -> str:
    if not action.option_strings:
        return f"`{_metavar(action)}`"
    value = "" if action.nargs == 0 else f" {_metavar(action)}"
    return f"`{action.option_strings[-1]}{value}`"


def _metavar(action: Action) -> str:
    if action.choices is not None:
        shown = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        shown = str(action.metavar or action.dest.upper())
    if action.nargs == "?":
        return f"[{shown}]"
    return f"[{shown} …]" if action.nargs == "*" else shown


def _meaning(action: Action) -> str:
    told = str(action.help or "").replace("%%", "%").replace("|", r"\|")
    return f"{told} Required." if action.option_strings and action.required else told
