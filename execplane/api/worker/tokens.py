"""Attempt tokens and local launch tokens: short-lived, signed with the deployment's secret key.

An attempt token is bound to one attempt and the process that passed its fence. An expired one may still renew and
end for as long as its attempt has not ended: an outage across the expiry must not lose a result.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from execplane.contract.errors import Forbidden
from execplane.contract.messages import LAUNCH_AUDIENCE

_ATTEMPT_AUDIENCE = "execplane-attempt"
_ALGORITHM = "HS256"
LOCAL_LAUNCH_LIFE = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptClaims:
    attempt_id: int
    nonce: str
    expires_at: datetime
    issued_at: datetime


class TokenMint:
    """Signs and checks; `secret_keys` newest first, older ones still verify."""

    def __init__(self, secret_keys: list[str], *, life_seconds: float) -> None:
        # The session's key signs sessions; a key derived from it signs tokens.
        self._keys = [hashlib.sha256(b"execplane tokens " + key.encode()).digest() for key in secret_keys]
        self.life = timedelta(seconds=life_seconds)

    def attempt_token(self, attempt_id: int, nonce: str, now: datetime) -> tuple[str, datetime]:
        expires = now + self.life
        claims = {"aud": _ATTEMPT_AUDIENCE, "sub": str(attempt_id), "nonce": nonce, "iat": now, "exp": expires}
        return jwt.encode(claims, self._keys[0], algorithm=_ALGORITHM), expires

    def read_attempt_token(self, token: str) -> AttemptClaims:
        """Signature and audience only: whether an expired token still serves is for the caller to decide."""
        claims = self._read(token, _ATTEMPT_AUDIENCE)
        return AttemptClaims(
            attempt_id=int(claims["sub"]),
            nonce=str(claims["nonce"]),
            expires_at=datetime.fromtimestamp(float(claims["exp"]), tz=UTC),
            issued_at=datetime.fromtimestamp(float(claims["iat"]), tz=UTC),
        )

    def launch_token(self, attempt_id: int, now: datetime) -> str:
        """For a local process, handed over through the zygote's pipe."""
        claims = {"aud": LAUNCH_AUDIENCE, "sub": str(attempt_id), "iat": now, "exp": now + LOCAL_LAUNCH_LIFE}
        return jwt.encode(claims, self._keys[0], algorithm=_ALGORITHM)

    def read_launch_token(self, token: str, now: datetime) -> int:
        """The attempt that a local launch token is for. Raises Forbidden."""
        claims = self._read(token, LAUNCH_AUDIENCE)
        if float(claims["exp"]) < now.timestamp():
            raise Forbidden("The launch token has expired.", hint="The attempt waited too long for its claim.")
        return int(claims["sub"])

    def _read(self, token: str, audience: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    audience=audience,
                    options={"verify_exp": False, "verify_iat": False, "require": ["sub", "exp", "iat"]},
                )
                return claims
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                raise Forbidden(f"The token is not valid: {error}.") from None
        raise Forbidden("The token was not signed by this deployment.")
