"""The key of Variables and Connections is rotated: a new one in front, all encrypted anew, the old one dropped."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from execplane.actions import secrets as actions
from execplane.actions.actor import Actor
from execplane.config import current
from execplane.contract.errors import ConfigError, Forbidden
from execplane.store import secrets
from execplane.store.models import Audit, Variable
from execplane.store.secrets import SecretBox
from tests.integration.cli_runner import execplane
from tests.integration.store.play import ADA

pytestmark = pytest.mark.django_db

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def values(box: SecretBox) -> dict[str, str | None]:
    found = {name: secrets.variable(box, name) for name, _ in secrets.names("variable")}
    for name, _ in secrets.names("connection"):
        found[name] = json.loads(secrets.connection_json(box, name) or "{}")["password"]
    return found


@pytest.fixture
def kept() -> dict[str, str | None]:
    """Some values under the old key."""
    old = SecretBox([OLD])
    for number in range(5):
        secrets.set_variable(old, f"v{number}", f"value {number}", "described")
    for number in range(2):
        secrets.set_connection(old, f"c{number}", {"conn_type": "http", "password": f"pw {number}"})
    return values(old)


def test_an_older_key_still_decrypts_what_it_encrypted(kept: dict[str, str | None]) -> None:
    assert values(SecretBox([NEW, OLD])) == kept
    with pytest.raises(ConfigError, match="a key that EXECPLANE_FERNET_KEYS no longer holds"):
        values(SecretBox([NEW]))


def test_after_a_rotation_the_old_key_can_be_dropped(kept: dict[str, str | None]) -> None:
    done = actions.rotate_fernet_key(ADA, SecretBox([NEW, OLD]))

    assert (done.variables, done.connections, done.already, done.lost) == (5, 2, 0, ())
    assert values(SecretBox([NEW])) == kept
    assert set(Variable.objects.values_list("description", flat=True)) == {"described"}


def test_a_rotation_goes_in_small_steps_and_one_that_ended_half_way_is_finished_by_the_next(
    kept: dict[str, str | None],
) -> None:
    steps: list[tuple[int, int]] = []

    def end_after_the_second(done: int, total: int) -> None:
        steps.append((done, total))
        if len(steps) == 2:
            raise KeyboardInterrupt

    box = SecretBox([NEW, OLD])
    with pytest.raises(KeyboardInterrupt):
        actions.rotate_fernet_key(ADA, box, progress=end_after_the_second, rows_a_transaction=2)
    assert steps == [(2, 7), (4, 7)]
    assert values(box) == kept

    done = actions.rotate_fernet_key(ADA, box)

    assert (done.variables, done.connections, done.already) == (1, 2, 4)
    assert values(SecretBox([NEW])) == kept
    sealed = list(Variable.objects.order_by("pk").values_list("value", flat=True))
    assert actions.rotate_fernet_key(ADA, box).already == 7
    assert list(Variable.objects.order_by("pk").values_list("value", flat=True)) == sealed


def test_a_rotation_is_audited_with_its_counts_and_no_value(kept: dict[str, str | None]) -> None:
    box = SecretBox([NEW, OLD])
    actions.rotate_fernet_key(ADA, box)
    actions.rotate_fernet_key(ADA, box)

    rows = list(Audit.objects.order_by("id").values_list("actor", "action", "object", "after"))
    assert rows == [
        (ADA.name, "rotate", "fernet_keys", {"variables": 5}),
        (ADA.name, "rotate", "fernet_keys", {"connections": 2}),
    ]


def test_only_staff_rotates(kept: dict[str, str | None]) -> None:
    with pytest.raises(Forbidden):
        actions.rotate_fernet_key(Actor(name="bob"), SecretBox([NEW, OLD]))
    assert values(SecretBox([OLD])) == kept


def test_the_command_rotates_names_what_no_key_opens_and_then_fails(
    kept: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.set_variable(SecretBox([Fernet.generate_key().decode()]), "orphan", "x")
    config = current().model_copy(update={"fernet_keys": [SecretStr(NEW), SecretStr(OLD)]})
    monkeypatch.setattr("execplane.compose.current", lambda: config)

    said = execplane("rotate-fernet-key")

    assert said.code == 1
    assert said.out == "Encrypted anew: Variables 5, Connections 2; with the newest key already: 0.\n"
    assert "opens variable:orphan: add the key that does, or set it again." in said.err
    Variable.objects.filter(key="orphan").delete()
    assert values(SecretBox([NEW])) == kept
    assert execplane("rotate-fernet-key", "-o", "json").json == {
        "variables": 0,
        "connections": 0,
        "already": 7,
        "lost": [],
    }
    assert not any(str(value) in said.out + said.err for value in kept.values())


def test_no_key_at_all_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="EXECPLANE_FERNET_KEYS is empty"):
        SecretBox([])
