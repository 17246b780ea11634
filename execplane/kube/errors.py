"""Our errors for the API server's answers: by status, with what it said, and whether trying again may help.

Callers never see the client library's or urllib3's exceptions. The one question that matters for a create is kept
apart: did the request leave us (`AnswerLost`: it may have been done) or not (`Unreachable`: it was not).
"""

from __future__ import annotations

import email.utils
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.errors import ExecplaneError


class KubeError(ExecplaneError):
    """The API server did not do what it was asked. `status` 0: there was no answer."""

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 0,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        """Kubernetes' own word: "AlreadyExists", "Forbidden", "Invalid" …"""
        self.details = dict(details or {})
        self.retry_after_seconds = retry_after_seconds

    def causes(self) -> list[tuple[str, str]]:
        """Field and message of each cause that the server named."""
        found = self.details.get("causes") or []
        return [(str(cause.get("field", "")), str(cause.get("message", ""))) for cause in found]


class Unreachable(KubeError):
    """No connection: nothing was sent, so nothing was done."""

    retryable = True


class AnswerLost(KubeError):
    """The request was sent and no answer came: it may or may not have been done."""

    retryable = True


class BadRequest(KubeError):
    """400 and 422: what we sent is not acceptable as it is."""


class Unauthorized(KubeError):
    """401: the credentials are not (or no longer) accepted."""

    retryable = True


class AccessDenied(KubeError):
    """403: permission, admission or quota; see `is_quota`."""


class NotFound(KubeError):
    """404."""


class AlreadyExists(KubeError):
    """409 on a create: the name is taken."""


class PreconditionFailed(KubeError):
    """409 otherwise: the object is not the one that was meant, or changed meanwhile."""


class Expired(KubeError):
    """410: the resourceVersion or continue token is too old; list again."""

    retryable = True


class TooLarge(KubeError):
    """413, or etcd's own limit: the object is too big."""


class Throttled(KubeError):
    """429: asked to wait."""

    retryable = True


class ServerTrouble(KubeError):
    """5xx: the API server, its etcd or a webhook is not well."""

    retryable = True


_BY_STATUS: dict[int, type[KubeError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: AccessDenied,
    404: NotFound,
    410: Expired,
    413: TooLarge,
    422: BadRequest,
    429: Throttled,
}


def is_quota(error: KubeError) -> bool:
    """A 403 that passes by itself when other pods end."""
    return isinstance(error, AccessDenied) and "exceeded quota" in error.message


def from_answer(status: int, headers: Mapping[str, str], body: bytes, what: str, now: datetime) -> KubeError:
    """The error that an answer other than success stands for. `what`: the request, for people."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    text = said.get("message") or body[:300].decode(errors="replace").strip() or "no explanation"
    reason = said.get("reason") or ""
    details = said.get("details") or {}
    return _class_of(status, reason, text)(
        f"{what}: {status} {reason}: {text}" if reason else f"{what}: {status}: {text}",
        hint=_HINTS.get(status, ""),
        status=status,
        reason=reason,
        details=details,
        retry_after_seconds=retry_after(headers, details, now),
    )


def _class_of(status: int, reason: str, text: str) -> type[KubeError]:
    if status == 409:
        return AlreadyExists if reason == "AlreadyExists" else PreconditionFailed
    if "request is too large" in text or "etcdserver: request is too large" in text:
        return TooLarge
    if status >= 500:
        return ServerTrouble
    return _BY_STATUS.get(status, BadRequest)


LONGEST_WAIT_SECONDS = 3600.0
"""One header must not hold launches for days; whoever asked for more is asked again."""


def retry_after(headers: Mapping[str, str], details: Mapping[str, Any], now: datetime) -> float:
    """Seconds that the server asks us to wait, an hour at most; 0 when it does not say. The header may be a date."""
    return min(_said_seconds(headers.get("Retry-After", ""), details, now), LONGEST_WAIT_SECONDS)


def _said_seconds(value: str, details: Mapping[str, Any], now: datetime) -> float:
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, (email.utils.parsedate_to_datetime(value) - now).total_seconds())
        except ValueError:
            return 0.0
    return float(details.get("retryAfterSeconds") or 0)


_HINTS = {
    401: "Check the kubeconfig's or the service account's credentials; they may have expired.",
    403: "Compare with the roles that the executor needs.",
}


_EXPIRED, _NOT_YET, _WRONG_NAME = (10, 9, (62, 64))
"""OpenSSL's verify codes; 62 and 64: the host's name or address is not in the certificate."""


def distrust(error: BaseException, host: str) -> Unreachable:
    """Why the TLS handshake failed, in words, with what to do. Nothing was sent."""
    cause = next((one for one in (error, *error.args, error.__cause__) if isinstance(one, ssl.SSLError)), None)
    if not isinstance(cause, ssl.SSLCertVerificationError):
        said = str(getattr(cause, "reason", None) or cause or error).replace("_", " ").lower()
        return Unreachable(
            f"The TLS handshake with the API server at {host} failed ({said}).",
            hint="Check the server's address, the client certificate of the kubeconfig, and its dates.",
        )
    code, words = cause.verify_code, cause.verify_message
    if code == _EXPIRED:
        said, hint = (
            "its certificate, or its authority's, has expired",
            "Renew it on the server; or is our clock ahead?",
        )
    elif code == _NOT_YET:
        said, hint = "its certificate is not valid yet", "Compare the clocks of server and execplane."
    elif code in _WRONG_NAME:
        said = "its certificate is for another name"
        hint = "Use an address that is in the certificate, or set tls-server-name in the kubeconfig."
    else:
        said, hint = (
            f"its certificate is not signed by an authority we know: {words}",
            ("Check certificate-authority in the kubeconfig, or kubernetes.ssl_ca_cert."),
        )
    return Unreachable(f"The API server at {host} cannot be trusted: {said}.", hint=hint)
