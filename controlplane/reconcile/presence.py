"""That a process began, or stopped, to look after the fleet."""

import logging
import uuid

from django.db import DatabaseError, close_old_connections

from controlplane.audit import services as audit
from controlplane.operations.importing import CONTROLLER

logger = logging.getLogger(__name__)


def note_presence(action: str, name: str) -> None:
    """Put it on record. A database that is away is logged only: whoever looks after the
    fleet must not depend on it to begin, nor to end."""
    try:
        audit.record(
            action=action,
            target=f"controller:{name}",
            actor=CONTROLLER,
            request_id=uuid.uuid4().hex,
            outcome="succeeded",
        )
    except DatabaseError:
        logger.exception("%s of %s could not be put on record", action, name)
        close_old_connections()
