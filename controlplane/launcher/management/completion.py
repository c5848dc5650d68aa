"""What `manage.py completion` does."""

from argparse import ArgumentParser
from typing import cast

from controlplane.commandline.completing import completion_script
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told
from controlplane.fleet.models import Agent, Engine


class Script(Verb):
    """Prints the script for one shell."""

    def __init__(self, shell: str) -> None:
        self.name = shell
        self.help = f"Print the script with which {shell} completes commands."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None."""

    def run(self, run: Run) -> Told:
        """Ask nobody."""
        script = completion_script(self.name)
        return Told({"shell": self.name, "script": script}, [script])


class Names(Verb):
    """Prints what can be completed, a name a line."""

    def __init__(self, name: str, model: type[Agent] | type[Engine]) -> None:
        self.name = name
        self.help = f"Print the names of {name}: what the scripts ask for."
        self._model = model

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None."""

    def run(self, run: Run) -> Told:
        """Ask nobody but the database."""
        found = self._model._default_manager.order_by("name").values_list("name", flat=True)
        names = cast(list[str], list(found))
        return Told({self.name: names}, ["\n".join(names)] if names else [])

    def reads(self, run: Run) -> str:
        """Agents, or engines."""
        return self.name
