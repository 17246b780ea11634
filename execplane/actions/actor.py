"""Who acts, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass

from execplane.contract.errors import Forbidden


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """`name` stands in the audit and in events. `may_act`: staff, or the operator at the machine's own shell."""

    name: str
    user_id: int | None = None
    may_act: bool = False


def local_operator(name: str) -> Actor:
    """Whoever runs the command on the machine: the shell's own permissions are the permission."""
    return Actor(name=f"{name} (cli)", may_act=True)


def demand(actor: Actor, verb: str) -> None:
    """Raises Forbidden."""
    if not actor.may_act:
        raise Forbidden(f"{actor.name} may not {verb}.", hint="Ask an administrator for staff rights.")
