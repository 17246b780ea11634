"""Settings: what is read, from where, what is refused, and that secrets never print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core import signing
from django.test import override_settings

from execplane.cli.settings import HIDDEN, _shown, _type
from execplane.compose import Deployment
from execplane.config import Config, environment_name, keys, load, secret, settings_file, signing_keys, sources
from execplane.contract.errors import ConfigError, Forbidden
from execplane.executors.retries import InfraBackoff
from execplane.pods.lessons import LessonOptions
from tests.conftest import TestClock


def test_defaults_need_neither_environment_nor_file() -> None:
    config = load({})
    assert config.executor == "local"
    assert config.home.is_absolute()
    assert config.web_url == "http://127.0.0.1:8080"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text('executor = "kubernetes"\n[kubernetes]\nnamespace = "jobs"\nslots = 4\n')
    config = load({"EXECPLANE_KUBERNETES__NAMESPACE": "other"}, file)
    assert (config.executor, config.kubernetes.namespace, config.kubernetes.slots) == ("kubernetes", "other", 4)


def test_lists_and_mappings_are_read_from_text() -> None:
    config = load(
        {
            "EXECPLANE_DAGS_FOLDERS": "/a:/b",
            "EXECPLANE_EXECUTORS": "local, kubernetes",
            "EXECPLANE_QUEUE_EXECUTORS": '{"gpu": "kubernetes"}',
            "EXECPLANE_FERNET_KEYS": "new,old",
            "EXECPLANE_WEB__ALLOWED_HOSTS": "a.example,b.example",
            "EXECPLANE_WEB__TRUSTED_ORIGINS": "https://a.example",
        }
    )
    assert config.dags_folders == [Path("/a"), Path("/b")]
    assert config.all_executors == ("local", "kubernetes")
    assert config.queue_executors == {"gpu": "kubernetes"}
    assert [key.get_secret_value() for key in config.fernet_keys] == ["new", "old"]
    assert config.web.allowed_hosts == ["a.example", "b.example"]
    assert config.web.trusted_origins == ["https://a.example"]


def test_every_setting_takes_an_empty_variable_as_unset() -> None:
    assert load({environment_name(dotted): "" for dotted, _ in keys()}) == load({})


@pytest.mark.parametrize(
    ("environ", "named", "nearest"),
    [
        ({"EXECPLANE_EXECUTER": "local"}, "EXECPLANE_EXECUTER", "EXECPLANE_EXECUTOR"),
        ({"EXECPLANE_KUBERNETES__NAMESPCE": "x"}, "EXECPLANE_KUBERNETES__NAMESPCE", "EXECPLANE_KUBERNETES__NAMESPACE"),
        ({"EXECPLANE_KUBERNETES_NAMESPACE": "x"}, "EXECPLANE_KUBERNETES_NAMESPACE", "EXECPLANE_KUBERNETES__NAMESPACE"),
        ({"EXECPLANE_KUBERNETES": "{}"}, "EXECPLANE_KUBERNETES", "kubernetes."),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_right_one(
    environ: dict[str, str], named: str, nearest: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(environ)
    assert named in refused.value.message
    assert nearest in refused.value.hint


def test_variables_of_others_are_left_alone() -> None:
    load({"EXECPLANE_VAR_TABLE": "x", "EXECPLANE_CONN_DB": "y", "EXECPLANE_TEST_SLOW": "1", "AIRFLOW_HOME": "/"})


@pytest.mark.parametrize(
    ("environ", "dotted"),
    [
        ({"EXECPLANE_WEB__PORT": "http"}, "web.port"),
        ({"EXECPLANE_WEB__PORT": "70000"}, "web.port"),
        ({"EXECPLANE_PARALLELISM": "-1"}, "parallelism"),
        ({"EXECPLANE_LOG_LEVEL": "LOUD"}, "log_level"),
        ({"EXECPLANE_DEBUG": "perhaps"}, "debug"),
    ],
)
def test_a_malformed_value_is_refused_by_both_its_names(environ: dict[str, str], dotted: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(environ)
    assert f"{dotted} ({environment_name(dotted)})" in refused.value.message
    assert f"config explain {dotted}" in refused.value.hint


def test_a_mapping_that_is_not_json_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="EXECPLANE_QUEUE_EXECUTORS"):
        load({"EXECPLANE_QUEUE_EXECUTORS": "gpu=kubernetes"})


RULES = """
[[failures.rules]]
message = "no free seat"
budget = "infra"
name = "licence_server"

[[failures.rules]]
exit_codes = [42, 43]
budget = "none"
"""


def test_rules_for_failures_are_read_from_the_file_or_as_one_json_list(tmp_path: Path) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text(RULES)
    text = (
        '[{"message": "no free seat", "budget": "infra", "name": "licence_server"},'
        ' {"exit_codes": [42, 43], "budget": "none"}]'
    )
    from_file, from_environment = load({}, file), load({"EXECPLANE_FAILURES__RULES": text})
    assert from_file.failures == from_environment.failures
    rules = Deployment(from_file).failure_policy.rules
    assert [(rule.name, rule.budget, rule.exit_codes) for rule in rules] == [
        ("licence_server", "infra", ()),
        ("", "none", (42, 43)),
    ]
    assert _type(dict(keys())["failures.rules"].annotation) == "list[FailureRule]"
    assert _shown(from_file.failures.rules, False)[1] == {"budget": "none", "exit_codes": [42, 43]}


def test_what_is_set_about_retries_reaches_driver_executor_and_worker_api() -> None:
    environ = {
        "EXECPLANE_SCHEDULER__INFRA_RETRIES": "7",
        "EXECPLANE_SCHEDULER__INFRA_BACKOFF_SECONDS": "2",
        "EXECPLANE_SCHEDULER__INFRA_BACKOFF_CAP_SECONDS": "60",
        "EXECPLANE_KUBERNETES__AVOID_NODES": "5",
        "EXECPLANE_KUBERNETES__OOM_MEMORY_FACTOR": "1.5",
        "EXECPLANE_KUBERNETES__OOM_MEMORY_CAP_BYTES": "8000000000",
    }
    deployment = Deployment(load(environ))
    deployment.__dict__["identity"] = ("d", 1)
    failures = deployment.failure_policy
    assert (failures.infra_retries, failures.infra_backoff) == (7, InfraBackoff(first_seconds=2, cap_seconds=60))
    assert deployment.worker_policy.failures is failures
    lessons = LessonOptions(avoid_nodes=5, oom_memory_factor=1.5, oom_memory_cap_bytes=8_000_000_000)
    assert deployment.kubernetes_options().lessons == lessons
    assert deployment.deployed("kubernetes").learns
    assert not deployment.deployed("local").learns
    off = Deployment(load({"EXECPLANE_KUBERNETES__AVOID_NODES": "0"}))
    off.__dict__["identity"] = ("d", 1)
    assert not off.deployed("kubernetes").learns


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"exit_codes": [1]}, "entry 2, budget: Field required."),
        ({"exit_codes": [1], "budget": "mine"}, "entry 2, budget: Input should be 'author', 'infra' or 'none'."),
        ({"category": "oom_kiled", "budget": "infra"}, "there is no category 'oom_kiled'. Did you mean oom_killed?"),
        ({"message": "(", "budget": "infra"}, "entry 2, message: '(' is not a regular expression"),
        ({"message": "x", "budget": "infra", "name": "preempted"}, "'preempted' is a category of execplane's own"),
        ({"message": "x", "budget": "infra", "name": "My Own"}, "entry 2, name: 'My Own' is not made of"),
        ({"budget": "infra"}, "entry 2: it names no category, exit_codes, reason or message"),
        ({"message": "x", "budget": "infra", "retries": 3}, "entry 2, retries: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_valid_stops_the_start_and_is_named(rule: dict[str, object], said: str) -> None:
    good = {"message": "x", "budget": "infra"}
    with pytest.raises(ConfigError) as refused:
        load({"EXECPLANE_FAILURES__RULES": json.dumps([good, rule])})
    assert "The setting failures.rules (EXECPLANE_FAILURES__RULES) is not valid: entry 2" in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('excutor = "local"', "excutor"),
        ('[kubernetes]\nnamespce = "x"', "kubernetes.namespce"),
        ("[nonsense]\nx = 1", "nonsense.x"),
        ("executor = ", "cannot be read"),
        ("[web]\nport = 'http'", "web.port"),
    ],
)
def test_the_file_is_as_strict_as_the_environment(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load({}, file)
    assert named in refused.value.message


def test_a_file_that_is_named_must_exist_and_the_one_in_home_need_not(tmp_path: Path) -> None:
    assert settings_file({"EXECPLANE_HOME": str(tmp_path)}) == tmp_path / "execplane.toml"
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        settings_file({"EXECPLANE_CONFIG": str(tmp_path / "nowhere.toml")})


def test_the_source_of_each_setting_is_known(tmp_path: Path) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text('executor = "kubernetes"\n[kubernetes]\nnamespace = "jobs"\nimage = "x"\n')
    environ = {"EXECPLANE_KUBERNETES__NAMESPACE": "other", "EXECPLANE_KUBERNETES__IMAGE": ""}
    assert sources(environ, file) == {
        "executor": str(file),
        "kubernetes.namespace": "EXECPLANE_KUBERNETES__NAMESPACE",
    }


def test_every_setting_says_what_it_means() -> None:
    assert [dotted for dotted, field in keys() if not field.description] == []


def test_no_secret_stands_in_the_text_of_the_configuration() -> None:
    config = load(
        {
            "EXECPLANE_SECRET_KEY": "hush-key",
            "EXECPLANE_SECRET_KEY_FALLBACKS": "hush-old,hush-older",
            "EXECPLANE_FERNET_KEYS": "hush-one,hush-two",
            "EXECPLANE_DATABASE_URL": "postgresql://u:hush@db/x",
        }
    )
    assert "hush" not in repr(config) + str(config)


def test_every_setting_whose_name_sounds_secret_is_a_secret() -> None:
    words = ("key", "password", "secret", "token_", "database_url")
    open_ones = {"worker.token_seconds"}
    suspicious = [dotted for dotted, _ in keys() if any(w in dotted for w in words) and dotted not in open_ones]
    fields = dict(keys())
    assert [dotted for dotted in suspicious if "SecretStr" not in str(fields[dotted].annotation)] == []


def test_a_secret_is_shown_as_dots_and_an_empty_one_as_nothing() -> None:
    config = load({"EXECPLANE_SECRET_KEY": "hush"})
    assert _shown(config.secret_key, True) == HIDDEN
    assert _shown(config.database_url, True) == ""


def test_a_secret_that_is_not_given_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    config = Config(home=tmp_path)
    made = secret(config, "secret_key")
    assert len(made) > 40
    assert secret(config, "secret_key") == made
    assert (tmp_path / "secrets" / "secret_key").stat().st_mode & 0o077 == 0
    assert secret(load({"EXECPLANE_HOME": str(tmp_path), "EXECPLANE_SECRET_KEY": "mine"}), "secret_key") == "mine"


def rotated(tmp_path: Path, *, fallbacks: str) -> Config:
    return load(
        {
            "EXECPLANE_HOME": str(tmp_path),
            "EXECPLANE_SECRET_KEY": "new",
            "EXECPLANE_SECRET_KEY_FALLBACKS": fallbacks,
        }
    )


def test_a_rotated_key_refuses_no_running_worker_while_the_old_one_is_a_fallback(
    tmp_path: Path, clock: TestClock
) -> None:
    old = Deployment(load({"EXECPLANE_HOME": str(tmp_path), "EXECPLANE_SECRET_KEY": "old"}), clock).mint
    token, _ = old.attempt_token(7, "nonce", clock.now())
    launch = old.launch_token(8, clock.now())

    kept = Deployment(rotated(tmp_path, fallbacks="old, older"), clock).mint
    assert kept.read_attempt_token(token).attempt_id == 7
    assert kept.read_launch_token(launch, clock.now()) == 8
    with pytest.raises(Forbidden):
        old.read_attempt_token(kept.attempt_token(7, "nonce", clock.now())[0])

    with pytest.raises(Forbidden, match="not signed by this deployment"):
        Deployment(rotated(tmp_path, fallbacks=""), clock).mint.read_attempt_token(token)


@pytest.mark.parametrize(("fallbacks", "accepted"), [("old", True), ("", False)])
def test_sessions_outlive_a_rotated_key_as_workers_do(tmp_path: Path, fallbacks: str, accepted: bool) -> None:
    signed = signing.dumps("me", key="old")
    first, *others = signing_keys(rotated(tmp_path, fallbacks=fallbacks))
    with override_settings(SECRET_KEY=first, SECRET_KEY_FALLBACKS=others):
        if accepted:
            assert signing.loads(signed) == "me"
        else:
            with pytest.raises(signing.BadSignature):
                signing.loads(signed)


def test_an_empty_key_is_refused_wherever_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text('secret_key_fallbacks = ["old", ""]\n')
    with pytest.raises(ConfigError, match=r"(?s)secret_key_fallbacks.*one of the keys is empty"):
        load({"EXECPLANE_HOME": str(tmp_path)}, file)


def test_the_address_for_people_is_one_that_can_be_reached() -> None:
    assert load({"EXECPLANE_WEB__HOST": "0.0.0.0"}).web_url == "http://127.0.0.1:8080"
    assert load({"EXECPLANE_WEB__HOST": "::"}).web_url == "http://[::1]:8080"
    assert load({"EXECPLANE_WEB__URL": "https://x.example/"}).web_url == "https://x.example"
