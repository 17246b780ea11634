"""Asking the API server who may do what, and whose token this is.

A worker proves who it is with a projected service-account token of its pod. It is checked offline against the
cluster's public keys where they can be read, else by TokenReview; both name the pod and its uid.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

from execplane.contract.clock import Clock
from execplane.contract.errors import ExecplaneError
from execplane.contract.messages import LAUNCH_AUDIENCE
from execplane.kube.asking import Asking
from execplane.kube.client import Client
from execplane.kube.errors import AccessDenied, KubeError, NotFound

_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Whether the executor's account may do something, and what the authoriser said."""

    allowed: bool
    reason: str = ""


def access(client: Client, verb: str, resource: str, namespace: str, subresource: str = "", group: str = "") -> Access:
    """A SelfSubjectAccessReview; namespace "": in all of them."""
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "namespace": namespace,
        "subresource": subresource,
    }
    status = _review(client, "selfsubjectaccessreviews", "authorization", {"resourceAttributes": attributes})
    return Access(allowed=bool(status.get("allowed")), reason=str(status.get("reason") or ""))


class PodIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which pod a token speaks for, as the cluster vouches."""

    namespace: str
    pod_name: str
    pod_uid: str
    service_account: str = ""


class TokenRefused(ExecplaneError):
    """The token is not one of a pod of this cluster, for us, now."""


class TokenVerifier:
    """Checks workers' service-account tokens. Thread-safe; keys are fetched when an unknown one appears."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        audience: str = LAUNCH_AUDIENCE,
        leeway_seconds: float = 30.0,
        refetch_seconds: float = 10.0,
        asking: Asking | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._refetch_seconds = refetch_seconds
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._issuer = ""
        self._fetched_at: float | None = None
        self._offline = True
        self._asking = asking or Asking()

    def verify_worker_token(self, token: str) -> PodIdentity:
        """Who the token speaks for. Raises TokenRefused when it speaks for nobody, KubeError when nobody can say."""
        key = self._key(token)
        return self._verified(token, key) if key is not None else self._asking(lambda: self._reviewed(token))

    def _key(self, token: str) -> jwt.PyJWK | None:
        """The public key that the token names; None when keys cannot be read here and TokenReview must answer."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefused(f"The launch token is malformed: {error}.") from error
        kid = str(header.get("kid", ""))
        if kid not in self._keys and self._offline and self._may_fetch():
            self._asking(self._fetch)
        if not self._offline:
            return None
        key = self._keys.get(kid)
        if key is None:
            raise TokenRefused(
                "The launch token is signed with a key that is not this cluster's.",
                hint="Is the worker in another cluster than the API server that execplane asks?",
            )
        return key

    def _may_fetch(self) -> bool:
        """Forged key ids must not become a stream of requests to the API server.

        Before the first answer everybody may ask: who came second must not be refused for want of keys.
        """
        now = self._clock.monotonic()
        with self._lock:
            return self._fetched_at is None or now - self._fetched_at >= self._refetch_seconds

    def _fetch(self) -> None:
        """Read the cluster's issuer and keys; no lock is held meanwhile."""
        try:
            found = msgspec.json.decode(self._client.request("GET", "/.well-known/openid-configuration"))
            answer = msgspec.json.decode(self._client.request("GET", "/openid/v1/jwks"))
        except (AccessDenied, NotFound):
            # system:service-account-issuer-discovery is not granted here.
            self._offline = False
            return
        keys = {str(key.get("kid", "")): jwt.PyJWK.from_dict(key) for key in answer.get("keys", [])}
        with self._lock:
            self._issuer, self._keys = str(found["issuer"]), keys
            self._fetched_at = self._clock.monotonic()

    def _verified(self, token: str, key: jwt.PyJWK) -> PodIdentity:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                # Times are compared with our own clock below.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iss"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(f"The launch token is not valid: {error}.") from error
        now = self._clock.now().timestamp()
        if now > float(claims["exp"]) + self._leeway_seconds:
            raise TokenRefused("The launch token has expired.", hint="Compare the clocks of node and execplane.")
        if now < float(claims.get("nbf", now)) - self._leeway_seconds:
            raise TokenRefused("The launch token is not valid yet.", hint="Compare the clocks of node and execplane.")
        bound = claims.get("kubernetes.io") or {}
        return _identity(
            str(bound.get("namespace") or ""),
            bound.get("pod") or {},
            str((bound.get("serviceaccount") or {}).get("name") or ""),
        )

    def _reviewed(self, token: str) -> PodIdentity:
        """TokenReview: the API server looks itself, and knows whether the pod still exists."""
        wish = {"token": token, "audiences": [self._audience]}
        status = _review(self._client, "tokenreviews", "authentication", wish)
        if not status.get("authenticated") or self._audience not in status.get("audiences", []):
            raise TokenRefused(f"The API server refuses the launch token: {status.get('error') or 'not authentic'}.")
        user = status.get("user") or {}
        extra = user.get("extra") or {}
        namespace, _, account = str(user.get("username", "")).removeprefix(_ACCOUNT).partition(":")
        pod = {
            "name": next(iter(extra.get("authentication.kubernetes.io/pod-name", [])), ""),
            "uid": next(iter(extra.get("authentication.kubernetes.io/pod-uid", [])), ""),
        }
        return _identity(namespace, pod, account)


def _identity(namespace: str, pod: dict[str, Any], account: str) -> PodIdentity:
    if not (namespace and pod.get("name") and pod.get("uid")):
        raise TokenRefused(
            "The launch token is not bound to a pod.", hint="Use the projected volume that execplane mounts."
        )
    return PodIdentity(namespace=namespace, pod_name=str(pod["name"]), pod_uid=str(pod["uid"]), service_account=account)


def _review(client: Client, resource: str, group: str, spec: dict[str, Any]) -> dict[str, Any]:
    body = msgspec.json.encode({"apiVersion": f"{group}.k8s.io/v1", "kind": _KINDS[resource], "spec": spec})
    answer = client.request("POST", f"/apis/{group}.k8s.io/v1/{resource}", body=body)
    status = msgspec.json.decode(answer, type=dict[str, Any]).get("status")
    if not isinstance(status, dict):
        raise KubeError(f"The API server's answer to {resource} has no status.")
    return status


_KINDS = {"selfsubjectaccessreviews": "SelfSubjectAccessReview", "tokenreviews": "TokenReview"}
