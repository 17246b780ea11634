"""Everything that a launch will need of a cluster, tried out before the first task: for `execplane kubernetes check`.

It changes nothing: rights are asked for, the pod is posted with dryRun=All, the watch ends after a second. Each step
is tried though another one failed, unless nobody answers at all; each is bounded in time.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import msgspec

from execplane.contract.errors import ExecplaneError, PolicyViolation
from execplane.kube.client import Client, Page, list_all, pods_path
from execplane.kube.errors import AccessDenied, KubeError, is_quota
from execplane.kube.review import access
from execplane.kube.rights import RIGHTS, Right, Tier
from execplane.pods.quantities import amount

_CALL_SECONDS = 10.0
_WATCH_SECONDS = 1
_SKEW_SAID_SECONDS = 3.0
"""The Date header has whole seconds, and the answer was under way."""
SKEW_FAILS_SECONDS = 30.0
"""Workers' tokens are refused beyond this (`review.TokenVerifier`)."""
_NEARLY_FULL = 0.9


class Result(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Something that was not asked for is not there."""
    WARNING = "warning"
    """It works now and may not tomorrow."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that was tried."""

    step: str
    """"connect", "clock", "expiry", "access", "tokens", "quota", "dry run" or "watch": stable, for scripts."""
    what: str
    result: Result
    said: str = ""
    hint: str = ""


class Elsewhere(ExecplaneError):
    """The operators' mutation hook sends the default pod to another namespace: no fault, and nothing to post here."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be tried. `pod` makes the default pod for a namespace, as bytes; raises ExecplaneError: Elsewhere
    when no default pod goes there."""

    namespaces: Sequence[str]
    pod: Callable[[str], bytes]
    label_selector: str = ""
    tier: Tier = Tier.RUN
    """Missing rights of higher tiers are only noted."""
    expires_within: timedelta = timedelta(days=14)


def check(client: Client, plan: Plan) -> Iterator[Found]:
    """Try everything; each finding as soon as it is there."""
    yield from _expiries(client, plan.expires_within)
    try:
        yield from _reached(client)
    except (KubeError, msgspec.MsgspecError) as error:
        said, hint = (error.message, error.hint) if isinstance(error, KubeError) else ("It is no API server.", "")
        yield Found(step="connect", what=client.host, result=Result.FAILED, said=said, hint=hint)
        if not isinstance(error, AccessDenied):
            # Everything else would only say the same, more slowly.
            return
    for right in RIGHTS:
        for namespace in [""] if right.cluster_wide else plan.namespaces:
            yield _right(client, right, namespace, plan.tier)
    for namespace in plan.namespaces:
        yield from _quotas(client, namespace)
        yield _tried(lambda n=namespace: _dry_run(client, n, plan.pod(n)), "dry run", namespace)  # type: ignore[misc]
        yield _tried(lambda n=namespace: _watch(client, n, plan.label_selector), "watch", namespace)  # type: ignore[misc]


def _expiries(client: Client, soon: timedelta) -> Iterator[Found]:
    now = client.clock.now()
    for one in client.credentials.expiries():
        date = f"{one.at:%Y-%m-%d %H:%M} UTC"
        if one.at <= now:
            result, said, hint = Result.FAILED, f"It has expired, on {date}.", "Renew it."
        elif one.renewed:
            result, said, hint = Result.OK, f"It ends on {date} and is renewed before.", ""
        elif one.at - now <= soon:
            result, said, hint = Result.WARNING, f"It expires soon, on {date}.", "Renew it before that."
        else:
            result, said, hint = Result.OK, f"It is good until {date}.", ""
        yield Found(step="expiry", what=one.what, result=result, said=said, hint=hint)
    if client.credentials.configuration.verify_ssl:
        return
    said = "Certificates are not verified: whoever answers is believed, and is shown our credentials."
    hint = "Unset verify_ssl and insecure-skip-tls-verify; name the authority in ssl_ca_cert."
    what = f"The server certificate of {client.host}"
    yield Found(step="expiry", what=what, result=Result.WARNING, said=said, hint=hint)


def _reached(client: Client) -> Iterator[Found]:
    """Whether it answers, and what its clock says in the middle of that."""
    asked = client.clock.now()
    with client.stream("/version", silence_seconds=_CALL_SECONDS) as response:
        date, body = response.headers.get("Date", ""), response.read()
    answered = client.clock.now()
    version = msgspec.json.decode(body, type=dict[str, Any]).get("gitVersion", "of a version that it does not tell")
    yield Found(step="connect", what=client.host, result=Result.OK, said=f"It is Kubernetes {version}.")
    try:
        told = email.utils.parsedate_to_datetime(date)
    except ValueError:
        yield Found(step="clock", what="clock", result=Result.NOTE, said="The API server's answers tell no time.")
        return
    skew = (asked + (answered - asked) / 2 - told).total_seconds() - 0.5
    said = f"Ours is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API server's."
    hint = "Set both by NTP: workers prove who they are with tokens that begin and end at a time."
    # What the answer's way may have taken is no skew.
    sure = abs(skew) - (answered - asked).total_seconds() / 2
    if sure > SKEW_FAILS_SECONDS:
        yield Found(step="clock", what="clock", result=Result.FAILED, said=said, hint=hint)
    elif sure > _SKEW_SAID_SECONDS:
        yield Found(step="clock", what="clock", result=Result.WARNING, said=said, hint=hint)
    else:
        yield Found(step="clock", what="clock", result=Result.OK, said="Ours and the API server's agree.")


def _right(client: Client, right: Right, namespace: str, tier: Tier) -> Found:
    what = f"{right.words} {f'in {namespace}' if namespace else 'in the whole cluster'}"

    def asked() -> Found:
        answer = access(client, right.verb, right.resource, namespace, subresource=right.subresource, group=right.group)
        if answer.allowed:
            return Found(step="access", what=what, result=Result.OK)
        missing = Result.FAILED if right.tier <= tier else Result.NOTE
        why = f" ({answer.reason})" if answer.reason else ""
        hint = f"`execplane kubernetes rbac --tier {right.tier:d}` prints the role."
        if right.resource == "tokenreviews" and _reads_keys(client):
            said = (
                f"Not allowed{why}, and not needed: tokens are checked by the cluster's public keys, which can be read."
            )
            return Found(step="access", what=what, result=Result.OK, said=said)
        return Found(step="access", what=what, result=missing, said=f"Not allowed{why}. {right.without}", hint=hint)

    return _tried(asked, "access", what)


def _reads_keys(client: Client) -> bool:
    try:
        for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
            client.request("GET", path, timeout_seconds=_CALL_SECONDS)
    except KubeError:
        return False
    return True


class _Amounts(msgspec.Struct):
    hard: dict[str, str | int] = {}
    used: dict[str, str | int] = {}


class _Named(msgspec.Struct):
    name: str = ""


class _Quota(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)
    status: _Amounts = msgspec.field(default_factory=_Amounts)


def _quotas(client: Client, namespace: str) -> Iterator[Found]:
    """What of each quota is used up. Whether the pod fits is the dry run's to say."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/resourcequotas"
    try:
        quotas = [msgspec.json.decode(raw, type=_Quota) for raw in list_all(client, path)[0]]
    except AccessDenied:
        said = "Quotas may not be read; the right stands above."
        yield Found(step="quota", what=namespace, result=Result.NOTE, said=said)
        return
    except (KubeError, msgspec.MsgspecError) as error:
        yield Found(step="quota", what=namespace, result=Result.FAILED, said=str(error))
        return
    full = [
        f"{name}: {quota.status.used.get(name, 0)} of {most} used (ResourceQuota {quota.metadata.name})"
        for quota in quotas
        for name, most in quota.status.hard.items()
        if _share(quota.status.used.get(name, 0), most) >= _NEARLY_FULL
    ]
    if full:
        said, hint = f"{'; '.join(full)}.", "Pods that do not fit wait until others end, or until the quota is raised."
        yield Found(step="quota", what=namespace, result=Result.WARNING, said=said, hint=hint)
    else:
        said = f"{len(quotas)} ResourceQuotas, none of them nearly full." if quotas else "There is none."
        yield Found(step="quota", what=namespace, result=Result.OK, said=said)


def _share(used: str | int, most: str | int) -> float:
    taken, whole = amount(used), amount(most)
    if taken is None or whole is None:
        return 0.0
    return float(taken / whole) if whole else 1.0


def _dry_run(client: Client, namespace: str, body: bytes) -> Found:
    query = [("dryRun", "All"), ("fieldValidation", "Strict")]
    try:
        client.request("POST", pods_path(namespace), query=query, body=body, timeout_seconds=_CALL_SECONDS)
    except KubeError as error:
        hint = "The quota is full for now." if is_quota(error) else error.hint
        return Found(step="dry run", what=namespace, result=Result.FAILED, said=error.message, hint=hint)
    return Found(step="dry run", what=namespace, result=Result.OK, said="The default pod is accepted.")


def _watch(client: Client, namespace: str, label_selector: str) -> Found:
    """From now on, so that no pod is sent; it ends by itself, because the server is told when."""
    path, selector = pods_path(namespace), [("labelSelector", label_selector)] if label_selector else []
    page = client.request("GET", path, query=[("limit", "1"), *selector], timeout_seconds=_CALL_SECONDS)
    version = msgspec.json.decode(page, type=Page).metadata.resource_version
    query = [("watch", "1"), ("timeoutSeconds", str(_WATCH_SECONDS)), ("resourceVersion", version), *selector]
    with client.stream(path, query=query, silence_seconds=_CALL_SECONDS):
        pass
    return Found(step="watch", what=namespace, result=Result.OK, said="A watch can be opened.")


def _tried(step: Callable[[], Found], name: str, what: str) -> Found:
    try:
        return step()
    except (PolicyViolation, Elsewhere) as error:
        # A policy may demand what each task says for itself: a label of its team, a limit.
        said = f"The default pod was not tried. {error.message}"
        return Found(step=name, what=what, result=Result.NOTE, said=said, hint=error.hint)
    except ExecplaneError as error:
        # Not only the API server's: a template that is no pod cannot even be posted.
        return Found(step=name, what=what, result=Result.FAILED, said=error.message, hint=error.hint)
