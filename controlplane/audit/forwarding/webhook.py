"""Posting entries, signed as Standard Webhooks says
(https://www.standardwebhooks.com): `webhook-signature` is `v1,` and the base64 of
HMAC-SHA-256 over `<webhook-id>.<webhook-timestamp>.<body>`.
"""

import base64
import hmac
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import IO

from controlplane.audit.archiving import archive_line
from controlplane.audit.forwarding.delivery import DeliveryFailed
from controlplane.audit.forwarding.receivers import Webhook, signing_key
from controlplane.audit.models import AuditEntry
from controlplane.audit.redaction import redact_text

_MAX_BODY = 1 << 20


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: object, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """What was signed for one receiver is not for another."""


class WebhookDelivery:
    """Posts `{"entries": […]}`, each as it stands in archives."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        self._opener = urllib.request.build_opener(_NoRedirects)

    def deliver(self, entries: Sequence[AuditEntry]) -> int:
        """Post the first of the entries, as many as one body holds; how many. Raises
        DeliveryFailed."""
        lines = [_line(entry) for entry in entries]
        count, size = 1, len(lines[0])
        while count < len(lines) and size + len(lines[count]) < _MAX_BODY:
            size += len(lines[count])
            count += 1
        self._post(
            f"audit-{entries[0].pk}-{entries[count - 1].pk}",
            b'{"entries":[%b]}' % b",".join(lines[:count]),
        )
        return count

    def close(self) -> None:
        """Nothing is held."""

    def _post(self, name: str, body: bytes) -> None:
        moment = str(int(time.time()))
        request = urllib.request.Request(  # noqa: S310 - the setting is http or https
            self._webhook.url,
            data=body,
            method="POST",
            headers={
                "Content-Type": "application/json",
                "User-Agent": "kvplane",
                "webhook-id": name,
                "webhook-timestamp": moment,
                "webhook-signature": sign(self._webhook.secret, name, moment, body),
            },
        )
        try:
            with self._opener.open(request, timeout=self._webhook.timeout_s) as answer:
                status = answer.status
        except (OSError, HTTPException) as error:
            raise DeliveryFailed(redact_text(f"the webhook failed: {error}")) from error
        if not 200 <= status < 300:
            raise DeliveryFailed(f"the webhook answered {status}")


def sign(secret: str, name: str, moment: str, body: bytes) -> str:
    """The value of `webhook-signature`. Raises BadReceiver for a secret that
    read_webhook() does not take."""
    signed = f"{name}.{moment}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(signing_key(secret), signed, "sha256")).decode()


def _line(entry: AuditEntry) -> bytes:
    texts = (entry.key_id, entry.previous, entry.mac, entry.document)
    key_id, previous, mac, document = (text.encode() for text in texts)
    return archive_line((entry.pk, key_id, previous, mac, document)).rstrip()
