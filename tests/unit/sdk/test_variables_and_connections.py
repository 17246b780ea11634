from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.errors import Unavailable
from execplane.contract.messages import SecretValue
from execplane.sdk import BaseHook, Connection, Variable, masking, services
from execplane.sdk.exceptions import AirflowException, AirflowNotFoundException
from tests.unit.sdk.building import DictServices


def test_variables_are_read_written_and_deleted() -> None:
    outside = DictServices()
    with services.use(outside):
        Variable.set("plain", 7)
        Variable.set("deep", {"a": [1]}, description="nested", serialize_json=True)
        assert Variable.get("plain") == "7"
        assert Variable.get("deep", deserialize_json=True) == {"a": [1]}
        assert outside.variables["deep"].description == "nested"
        assert Variable.setdefault("plain", 8) == "7"
        assert Variable.setdefault("new", {"b": 1}, deserialize_json=True) == {"b": 1}
        assert Variable.get("new", deserialize_json=True) == {"b": 1}
        Variable.delete("plain")
        assert Variable.get("plain", default_var=None) is None
        assert Variable.get("plain", default="d") == "d"


def test_the_environment_wins_and_ours_before_airflows(monkeypatch: pytest.MonkeyPatch) -> None:
    with services.use(DictServices(variables={"key": SecretValue(value="stored")})):
        assert Variable.get("key") == "stored"
        monkeypatch.setenv("AIRFLOW_VAR_KEY", "airflow's")
        assert Variable.get("key") == "airflow's"
        monkeypatch.setenv("EXECPLANE_VAR_KEY", "ours")
        assert Variable.get("key") == "ours"


def test_a_missing_variable_is_a_key_error_with_advice() -> None:
    with pytest.raises(KeyError) as caught:
        Variable.get("nope")
    assert str(caught.value).startswith("Variable 'nope' does not exist. Create it, set AIRFLOW_VAR_NOPE")


def test_nothing_is_written_while_a_file_is_imported() -> None:
    with pytest.raises(Unavailable, match="only by a running task"):
        Variable.set("a", "b")
    with pytest.raises(Unavailable):
        Variable.delete("a")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgres://ann:p%40ss@db.example.org:5432/sales?sslmode=require",
         ("postgres", "db.example.org", "ann", "p@ss", "sales", 5432, {"sslmode": "require"})),
        ("postgresql://host", ("postgres", "host", None, None, None, None, {})),
        ("google-cloud-platform://", ("google_cloud_platform", None, None, None, None, None, {})),
        ("http://:token@host/path%2Fdeep", ("http", "host", "", "token", "path/deep", None, {})),
        ("aws://?__extra__=%7B%22region%22%3A+%5B1%5D%7D", ("aws", None, None, None, None, None, {"region": [1]})),
        ("spark://%2Ffile%2Fpath:7077", ("spark", "/file/path", None, None, None, 7077, {})),
        ("x://[::1]:80", ("x", "::1", None, None, None, 80, {})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_uris_are_read_as_airflow_reads_them(uri: str, expected: tuple[object, ...]) -> None:
    conn = Connection(uri=uri)
    found = (conn.conn_type, conn.host, conn.login, conn.password, conn.schema, conn.port, conn.extra_dejson)
    assert found == expected


words = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=12)


@given(words, words, words, words, st.none() | st.integers(1, 65535), st.dictionaries(words, words | st.integers()))
def test_a_connection_survives_its_uri_and_its_json(
    host: str, login: str, password: str, schema: str, port: int | None, extra: dict[str, object]
) -> None:
    conn = Connection("c", "postgres", None, host, login, password, schema, port, extra or None)
    for again in (Connection("c", uri=conn.get_uri()), Connection.from_json(conn.as_json(), "c")):
        assert (again.host, again.login, again.password, again.schema, again.port) == (
            host,
            login,
            password,
            schema,
            port,
        )
        assert again.extra_dejson == extra


def test_connections_come_from_the_environment_first_then_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with services.use(DictServices(connections={"db": '{"conn_type": "postgres", "host": "stored"}'})):
        assert BaseHook.get_connection("db").host == "stored"
        monkeypatch.setenv("AIRFLOW_CONN_DB", '{"conn_type": "postgres", "host": "json", "extra": {"a": 1}}')
        assert Connection.get("db").host == "json"
        assert Connection.get("db").extra_dejson == {"a": 1}
        monkeypatch.setenv("EXECPLANE_CONN_DB", "mysql://uri")
        assert Connection.get("db").host == "uri"
        assert Connection.get("db").conn_id == "db"
        with pytest.raises(AirflowNotFoundException, match="'other' isn't defined"):
            Connection.get("other")


def test_wrong_connections_are_named() -> None:
    with pytest.raises(AirflowException, match="either uri or the parts"):
        Connection(uri="x://y", host="z")
    with pytest.raises(AirflowException, match="'c' is not Airflow's JSON form"):
        Connection.from_json("[1]", "c")


def test_a_hook_logs_and_finds_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hook(BaseHook):
        def get_conn(self) -> str:
            self.log.info("connecting")
            return str(self.get_connection("h").host)

    monkeypatch.setenv("AIRFLOW_CONN_H", "x://there")
    assert Hook().get_conn() == "there"
    with pytest.raises(NotImplementedError, match="BaseHook does not define get_conn"):
        BaseHook().get_conn()


def test_secrets_are_hidden_once_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DB", "x://u:hunter22@h?api_key=key-0815&region=eu-west")
    monkeypatch.setenv("AIRFLOW_VAR_MY_TOKEN", "token-value")
    monkeypatch.setenv("AIRFLOW_VAR_COLOUR", "vermilion")
    Connection.get("db")
    Variable.get("my_token")
    Variable.get("colour")
    masking.learn("s3cr!et @")
    assert masking.mask("x://joe:s3cr%21et%20%40@h s3cr%21et+%40 s3cr!et @") == "x://joe:***@h *** ***"
    assert masking.mask("hunter22 key-0815 eu-west token-value vermilion") == "*** *** eu-west *** vermilion"
    assert masking.mask_value({"password": "abc", "n": 1, "list": ["hunter22"]}) == {
        "password": "***",
        "n": 1,
        "list": ["***"],
    }
