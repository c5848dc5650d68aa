"""Another key for the chain."""

import re
import uuid

from django.db import transaction

from controlplane.audit import chain, services, turns
from controlplane.audit.actors import Actor
from controlplane.audit.keys import KeyRing
from controlplane.audit.models import AuditEntry


def rotate_key(keys: KeyRing, *, actor: Actor, reason: str) -> AuditEntry:
    """Authenticate entries with a new key from the next one on; the entry that says so
    is the last with the old key. Old keys are needed to verify old entries.

    Raises KeyUnavailable and django.db.DatabaseError.
    """
    with transaction.atomic():
        current = chain.read_head(turns.begin()).next_key
        following = f"k{int(re.sub('[^0-9]', '', current)) + 1}"
        keys.make_hmac_key(following)
        return services.record(
            action=chain.ROTATE,
            target=f"{chain.KEY_TARGET}{following}",
            actor=actor,
            request_id=uuid.uuid4().hex,
            reason=reason,
            before={"key": current},
            after={"key": following},
            outcome="succeeded",
        )
