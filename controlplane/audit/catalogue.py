"""Everything that can stand in the log as an action: `entity.verb`.

What is done to agents is named by the documented endpoints; the rest is named here.
"""

from engine.contract import CATALOGUE

OUTCOMES = (
    "succeeded",
    "partially_failed",
    "failed",
    "cancelled",
    "unknown",
    "denied",
    "unchanged",
    "observed",
)
"""What can come of something, as entries say it."""

OWN_ACTIONS = {
    "access.denied": "A call, or a watcher, was refused with 401 or 403.",
    "agent.enrol": "An agent tried to enrol under a name that is not its own.",
    "agent.leave": "An agent's process said that it ends.",
    "agent.offline": "An agent has not been heard of for several polls.",
    "agent.online": "An agent answers again.",
    "agent.probe": "Somebody asked an agent how it is.",
    "agent.register": "An agent is known from now on.",
    "agent.remove": "An agent was forgotten.",
    "agent.restart": "An agent was found in another start of its process.",
    "agent.unknown": "An agent missed a poll.",
    "agent.update": "What is known of an agent was changed.",
    "api_token.create": "An API token was made.",
    "api_token.revoke": "An API token was revoked.",
    "audit.archive": "Older entries were moved to an archive.",
    "audit.verify": "The log was verified.",
    "audit_key.rotate": "Entries from here on are authenticated with another key.",
    "chunk_statistics.sample": "Somebody had an agent's counts kept.",
    "command.run": "A management command was run.",
    "conf.adopt": "A configuration changed past the control plane was accepted.",
    "conf.import": "A configuration was kept as it was found.",
    "conf.restart": "Settings that an agent was started with were kept.",
    "controller.start": "A process began to look after the fleet.",
    "controller.stop": "A process stopped looking after the fleet.",
    "drift.found": "An agent is not as it should be.",
    "drift.give_up": "Repairs did not help; the control loop has given up.",
    "drift.gone": "An agent is as it should be again.",
    "engine.create": "An engine is known from now on.",
    "engine.remove": "An engine was forgotten.",
    "engine.update": "An engine was renamed or relabelled.",
    "enrolment_token.create": "An enrolment token was made.",
    "enrolment_token.revoke": "An enrolment token was revoked.",
    "mode.adopt": "Modes changed past the control plane were accepted.",
    "mode.import": "Modes were kept as they were found.",
    "mode.last": "The end of a mode led to what it is already: only the end is gone.",
    "mode.give_up": "A mode whose time is up could not be ended; the control loop has given up.",
    "operation.cancel": "An operation was called off.",
    "request.fail": "A call that would have changed something was not carried out.",
    "request.make": "A call that could have changed something changed nothing.",
    "request.read": "Something was read that the policy wants on record.",
    "user.create": "A user was made.",
    "user.delete": "A user was deleted.",
    "user.login": "Somebody logged in, or tried to.",
    "user.logout": "Somebody logged out.",
    "user.update": "A user, or a password, was changed.",
    "watch.policy": "What is done about an agent's drift was changed.",
    "watch.retry": "The control loop was told to try again.",
}
ACTIONS = frozenset(OWN_ACTIONS) | {
    endpoint.action for endpoint in CATALOGUE if endpoint.action is not None
}


class UnknownAction(ValueError):
    """An action that is not in the catalogue."""

    def __init__(self, action: str) -> None:
        super().__init__(f"'{action}' is not in controlplane.audit.catalogue")


def check_action(action: str) -> None:
    """Raises UnknownAction."""
    if action not in ACTIONS:
        raise UnknownAction(action)
