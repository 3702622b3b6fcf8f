"""Where records go: endpoints, tokens and headers, from whom they may come, and what is never shown."""

from __future__ import annotations

import base64
import itertools
import traceback
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.model import ConfigError
from telemetry_sdk.sender.endpoint import (
    Settings,
    Sink,
    authorization,
    is_loopback,
    parse_endpoint,
    parse_header_list,
    resolve,
)

GATEWAY = "https://otlp-gateway-prod-eu-west-2.grafana.net/otlp"
REMOTE = "http://collector.example:4318"
LOCAL = "http://127.0.0.1:4318"


def encoded(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def found(environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return resolve(environ or {}, "ACME", **arguments)


def sink_of(environ: dict[str, str] | None = None, **arguments: Any) -> Sink:
    settings_found = found(environ, **arguments)
    assert settings_found.sink is not None, settings_found.problem
    return settings_found.sink


def auth_of(environ: dict[str, str] | None = None, **arguments: Any) -> str | None:
    return dict(sink_of(environ, **arguments).headers).get("Authorization")


def refusal(environ: dict[str, str] | None = None, **arguments: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        found(environ, **arguments)
    return caught.value


# Endpoints


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/logs"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/logs"),
        (" http://127.0.0.1:4318 \n", "http://127.0.0.1:4318/v1/logs"),
        ("HTTP://127.0.0.1", "http://127.0.0.1/v1/logs"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/logs"),
        (GATEWAY, f"{GATEWAY}/v1/logs"),
        (f"{GATEWAY}/", f"{GATEWAY}/v1/logs"),
        (f"{GATEWAY}/v1/logs", f"{GATEWAY}/v1/logs"),
        (f"{GATEWAY}/v1/logs/", f"{GATEWAY}/v1/logs"),
        ("https://loki.example/otlp/v1/logs", "https://loki.example/otlp/v1/logs"),
        ("https://sink.example/in?tenant=7#top", "https://sink.example/in/v1/logs?tenant=7"),
        ("https://sink.example/v1/logs?tenant=7", "https://sink.example/v1/logs?tenant=7"),
        ("file:///var/log/telemetry.jsonl", "file:///var/log/telemetry.jsonl"),
        ("file:/var/log/telemetry.jsonl", "file:///var/log/telemetry.jsonl"),
        ("file://localhost/var/log/telemetry.jsonl", "file:///var/log/telemetry.jsonl"),
        ("file:///C:/logs/my%20telemetry.jsonl", "file:///C:/logs/my%20telemetry.jsonl"),
    ],
)
def test_endpoint_forms(endpoint: str, url: str) -> None:
    """A base URL gets /v1/logs, a full one and a file stay as they are."""
    assert url == sink_of(endpoint=endpoint).url


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/"),
        ("http://127.0.0.1:4318/custom", "http://127.0.0.1:4318/custom"),
        ("http://127.0.0.1:4318/v1/logs/", "http://127.0.0.1:4318/v1/logs/"),
    ],
)
def test_the_signals_own_otel_endpoint_is_literal(endpoint: str, url: str) -> None:
    """OTEL_EXPORTER_OTLP_LOGS_ENDPOINT is used as it is, as OpenTelemetry's specification wants."""
    assert url == sink_of({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": endpoint}, otel_env=True).url


BAD_ENDPOINTS = [
    "collector:4318",
    "127.0.0.1:4318",
    "ftp://collector.example",
    "//collector.example",
    "http://",
    "http:///v1/logs",
    "http://collector.example:port",
    "http://collector.example:99999",
    "http://[::1",
    "http://collector example",
    "http://collector.example/a b",
    "http://collector.example\r\nX-Evil:1",
    "http://collector\n.example",
    "http://collector.example/\x7f",
    "http://collector.example/a\u2028b",
    "http://\ud800",
    "http://user:hunter2@collector.example",
    "http://hunter2@collector.example",
    "http://@collector.example",
    "http://evil.example\\@127.0.0.1",
    "http://evil.example\\.localhost",
    "file://",
    "file:///",
    "file:///var/log/",
    "file:telemetry.jsonl",
    "file:var/telemetry.jsonl",
    "file://telemetry.jsonl",
    "file://server/share/telemetry.jsonl",
    "http://collector.example/v1/traces",
    "https://collector.example/otlp/v1/metrics/",
]


@pytest.mark.parametrize("endpoint", BAD_ENDPOINTS, ids=ascii)
def test_impossible_endpoints(endpoint: str) -> None:
    """An endpoint nothing can be sent to is the integrator's mistake in an argument, never in the environment."""
    error = refusal(endpoint=endpoint)

    assert error.setting == "endpoint"
    assert "hunter2" not in str(error)

    for name in ("GRAFANA_OTLP_ENDPOINT", "ACME_TELEMETRY_ENDPOINT"):
        settings_found = found({name: endpoint})
        assert settings_found.sink is None
        assert settings_found.problem.startswith(f"{name}: ")
        assert "hunter2" not in settings_found.problem


@pytest.mark.parametrize("unset", [None, "", " ", "\n"])
def test_an_empty_endpoint_is_unset(unset: str | None) -> None:
    """Empty counts as unset, in an argument and in the environment, and no sink is no problem."""
    environ = {"GRAFANA_OTLP_ENDPOINT": unset or "", "ACME_TELEMETRY_ENDPOINT": unset or ""}

    assert found(environ, endpoint=unset) == Settings()
    assert found({**environ, "ACME_TELEMETRY_ENDPOINT": LOCAL}, endpoint=unset).sink is not None


def test_what_is_shown_of_a_sink() -> None:
    """People see host and port; a file sink is called file."""
    assert sink_of(endpoint=LOCAL).host == "127.0.0.1:4318"
    assert sink_of(endpoint=GATEWAY).host == "otlp-gateway-prod-eu-west-2.grafana.net"
    assert sink_of(endpoint="file:///tmp/t.jsonl").host == "file"


def test_a_host_called_file_is_no_file() -> None:
    """A sink is a file by its scheme, not because its host happens to have that name."""
    assert not sink_of(endpoint="http://file").is_file
    assert sink_of(endpoint="file:///tmp/t.jsonl").is_file


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("endpoint", 4318),
        ("endpoint", b"http://127.0.0.1"),
        ("endpoint", PurePosixPath("/tmp/t.jsonl")),
        ("token", 42),
        ("token", b"42:abc"),
        ("headers", "X-Scope-OrgID=1"),
        ("headers", [("X-Scope-OrgID", "1")]),
    ],
    ids=repr,
)
def test_arguments_of_another_type(argument: str, value: object) -> None:
    """An argument of the wrong type is a ConfigError, with or without a sink."""
    assert refusal(**{argument: value}).setting == argument
    assert refusal(**{"endpoint": LOCAL, argument: value}).setting == argument


# Tokens


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("Basic MTIzOmFiYw==", "Basic MTIzOmFiYw=="),
        ("Bearer eyJhbGciOi.x.y", "Bearer eyJhbGciOi.x.y"),
        ("bearer abc", "bearer abc"),
        (" Basic MTIzOmFiYw==\n", "Basic MTIzOmFiYw=="),
        ("123456:glc_abc", encoded("123456:glc_abc")),
        ("user:pass:word", encoded("user:pass:word")),
        (encoded("123456:glc_abc").removeprefix("Basic "), encoded("123456:glc_abc")),
    ],
)
def test_token_forms(token: str, header: str) -> None:
    """A token is understood in each of the forms people copy from Grafana's pages."""
    assert header == authorization(token)
    assert header == auth_of(endpoint=GATEWAY, token=token)


@pytest.mark.parametrize("bare", ["glc_eyJvIjoiMTIzIn0=", "Basic", "Bearer ", "c2VjcmV0", "abc"])
def test_a_bare_token_needs_the_instance_id(bare: str) -> None:
    """Half of a pair is completed by GRAFANA_OTLP_INSTANCE_ID, and refused with that advice without it."""
    assert auth_of({"GRAFANA_OTLP_INSTANCE_ID": " 123456 "}, endpoint=GATEWAY, token=bare) == encoded(
        f"123456:{bare.strip()}"
    )
    assert "GRAFANA_OTLP_INSTANCE_ID" in refusal(endpoint=GATEWAY, token=bare).problem


@pytest.mark.parametrize("instance_id", ["12:34", "1 2", "\udcff", "ü", "1\x00"], ids=ascii)
def test_a_broken_instance_id_is_the_worlds_failure(instance_id: str) -> None:
    """An instance id that fits no pair is a problem to show; the host's token is not to blame and nothing is raised."""
    settings_found = found({"GRAFANA_OTLP_INSTANCE_ID": instance_id}, endpoint=GATEWAY, token="glc_bare")

    assert settings_found.sink is None
    assert settings_found.problem.startswith("GRAFANA_OTLP_INSTANCE_ID: ")


@pytest.mark.parametrize("token", ["Digest abc", "id:to ken", "a\x00b", "a\r\nX-Evil: 1", "tökén", "a\tb", "\ud800"])
def test_impossible_tokens(token: str) -> None:
    """A token no header may carry, or of an unknown scheme, is refused before anything is sent."""
    assert refusal(endpoint=GATEWAY, token=token).setting == "token"
    assert found({"GRAFANA_OTLP_ENDPOINT": GATEWAY, "GRAFANA_OTLP_TOKEN": token}).problem


@pytest.mark.parametrize("unset", ["", " ", None])
def test_an_empty_token_is_unset(unset: str | None) -> None:
    """Empty counts as unset, for an argument and for the environment."""
    assert auth_of({"ACME_TELEMETRY_TOKEN": unset or ""}, endpoint=GATEWAY, token=unset) is None


# Families: which token may go to which sink

OWN = {"ACME_TELEMETRY_ENDPOINT": GATEWAY, "ACME_TELEMETRY_TOKEN": "own:t"}
OWN_HEADERS = {"ACME_TELEMETRY_ENDPOINT": GATEWAY, "ACME_TELEMETRY_HEADERS": "Authorization=Bearer%20listed,x-org=7"}
GRAFANA = {"GRAFANA_OTLP_ENDPOINT": GATEWAY, "GRAFANA_OTLP_TOKEN": "grafana:t"}
OTEL = {"OTEL_EXPORTER_OTLP_ENDPOINT": GATEWAY, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20otel"}
OTHER = "https://sink.example"


@pytest.mark.parametrize(
    ("environ", "arguments", "header"),
    [
        (GRAFANA, {}, encoded("grafana:t")),
        (OWN, {}, encoded("own:t")),
        (OWN_HEADERS, {}, "Bearer listed"),
        (OTEL, {"otel_env": True}, "Bearer otel"),
        # the argument comes first, whatever named the endpoint
        *((family, {"token": "Bearer argument", "otel_env": True}, "Bearer argument") for family in (GRAFANA, OWN)),
        *(
            (family, {"token": "Bearer argument", "otel_env": True}, "Bearer argument")
            for family in (OWN_HEADERS, OTEL)
        ),
        *((family, {"headers": {"Authorization": "Bearer host"}}, "Bearer host") for family in (GRAFANA, OWN)),
        (OWN_HEADERS, {"headers": {"authorization": "Bearer host"}}, None),  # that spelling is kept
        # of one family the token comes before the header list
        ({**OWN_HEADERS, **OWN}, {}, encoded("own:t")),
        # a token of another family stays here
        ({**OWN, "GRAFANA_OTLP_TOKEN": "grafana:t"}, {}, encoded("own:t")),
        ({"ACME_TELEMETRY_ENDPOINT": GATEWAY, "GRAFANA_OTLP_TOKEN": "grafana:t"}, {}, None),
        ({"GRAFANA_OTLP_ENDPOINT": GATEWAY, "ACME_TELEMETRY_TOKEN": "own:t"}, {}, None),
        ({"GRAFANA_OTLP_ENDPOINT": GATEWAY, "ACME_TELEMETRY_HEADERS": "Authorization=x"}, {}, None),
        ({**GRAFANA, **OTEL}, {"otel_env": True}, encoded("grafana:t")),
        # an endpoint in code takes the app's own token, and Grafana's only for Grafana Cloud or this machine
        (OWN, {"endpoint": OTHER}, encoded("own:t")),
        (OWN_HEADERS, {"endpoint": OTHER}, None),
        (GRAFANA, {"endpoint": OTHER}, None),
        (GRAFANA, {"endpoint": "https://evilgrafana.net"}, None),
        (GRAFANA, {"endpoint": "https://grafana.net.evil.example"}, None),
        (GRAFANA, {"endpoint": GATEWAY}, encoded("grafana:t")),
        (GRAFANA, {"endpoint": LOCAL}, encoded("grafana:t")),
        ({**GRAFANA, **OWN}, {"endpoint": GATEWAY}, encoded("own:t")),
    ],
)
def test_a_secret_set_for_one_sink_reaches_no_other(
    environ: dict[str, str], arguments: dict[str, Any], header: str | None
) -> None:
    """The endpoint's family decides where its token may come from, and the first one set is used."""
    assert header == auth_of(environ, **arguments)


URLS = {
    "argument": "https://argument.example",
    "GRAFANA_OTLP_ENDPOINT": "https://grafana.example",
    "ACME_TELEMETRY_ENDPOINT": "https://own.example",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://otel-logs.example",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otel.example",
}


@pytest.mark.parametrize("otel_env", [True, False])
def test_precedence_of_endpoints(otel_env: bool) -> None:
    """Argument, Grafana's, the app's own, and OpenTelemetry's only when asked for: the first one set wins."""
    allowed = list(URLS)[: 5 if otel_env else 3]
    for names in itertools.chain.from_iterable(itertools.combinations(URLS, n) for n in range(6)):
        environ = {name: URLS[name] for name in names if name != "argument"}
        winner = next((name for name in allowed if name in names), None)

        sink = found(environ, endpoint=URLS["argument"] if "argument" in names else None, otel_env=otel_env).sink

        assert (sink.host if sink else None) == (URLS[winner].removeprefix("https://") if winner else None), names
        assert sink is None or sink.from_code is (winner == "argument")


def test_an_unused_token_is_noted() -> None:
    """Whoever set Grafana's token and a sink of another family learns why it is not used, without seeing it."""
    (note,) = found({**GRAFANA, "GRAFANA_OTLP_ENDPOINT": "", "ACME_TELEMETRY_ENDPOINT": OTHER}).notes

    assert "GRAFANA_OTLP_TOKEN" in note
    assert "ACME_TELEMETRY_ENDPOINT" in note
    assert "grafana:t" not in note
    assert found(GRAFANA).notes == ()
    assert found(GRAFANA, endpoint=OTHER, token="id:t").notes == ()


def test_operators_options_come_with_otel_env_only() -> None:
    """Timeout, compression and certificates are OpenTelemetry's, so they count only for its own endpoint."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": GATEWAY,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "None",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k.pem",
    }

    sink = sink_of(environ, otel_env=True)
    assert (sink.timeout, sink.compress, sink.ca_file) == (2.5, False, "/ca.pem")
    assert sink.client_cert == ("/c.pem", "/k.pem")

    plain = sink_of({**environ, "GRAFANA_OTLP_ENDPOINT": GATEWAY}, otel_env=True)
    assert (plain.timeout, plain.compress, plain.ca_file, plain.client_cert) == (None, True, None, None)
    assert found(environ) == Settings()


@pytest.mark.parametrize("timeout", ["0", "-1", "1.5", "10s", "", "\u0663", "9" * 5000, "9" * 400])
def test_a_strange_timeout_is_ignored(timeout: str) -> None:
    """A timeout that is no number of milliseconds changes nothing and raises nothing."""
    assert sink_of({**OTEL, "OTEL_EXPORTER_OTLP_TIMEOUT": timeout}, otel_env=True).timeout is None


def test_half_a_client_certificate_is_ignored() -> None:
    """A certificate without its key authenticates nobody."""
    assert sink_of({**OTEL, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c.pem"}, otel_env=True).client_cert is None


def test_the_signals_own_headers_replace_the_general_ones() -> None:
    """OTEL_EXPORTER_OTLP_LOGS_HEADERS is used instead of OTEL_EXPORTER_OTLP_HEADERS, not beside it."""
    environ = {**OTEL, "OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "b=2"}

    assert sink_of(environ, otel_env=True).headers == (("b", "2"),)


# Secrets and plain http


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("sink.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("127.evil.com", False),
        ("127.0.0.1.evil.com", False),
        ("localhost.evil.com", False),
        ("evillocalhost", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("127.1", False),  # a resolver may read it as 127.0.0.1, but not every one does
        ("2130706433", False),
        ("0x7f000001", False),
        ("::", False),
        ("fe80::1", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback(host: str | None, loopback: bool) -> None:
    """Only a name or address that can mean nothing but this machine is loopback."""
    assert loopback is is_loopback(host)


@pytest.mark.parametrize("host", ["127.evil.com", "localhost.evil.com", "127.0.0.1.nip.io", "10.0.0.1", "sink"])
def test_a_token_over_plain_http_is_refused(host: str) -> None:
    """A secret leaves this machine encrypted or not at all."""
    endpoint = f"http://{host}:4318"

    assert refusal(endpoint=endpoint, token="id:t").setting == "token"
    for header in ("Authorization", "X-Api-Key", "X-Scope-Token", "Cookie", "X-Auth"):
        assert refusal(endpoint=endpoint, headers={header: "s"}).setting == "headers"
    assert sink_of(endpoint=endpoint, headers={"X-Scope-OrgID": "7"}).headers == (("X-Scope-OrgID", "7"),)


@pytest.mark.parametrize("endpoint", ["http://localhost:4318", "http://127.0.0.7", "http://[::1]:4318", OTHER])
def test_a_token_may_go_to_this_machine_or_over_https(endpoint: str) -> None:
    """Loopback needs no encryption."""
    assert auth_of(endpoint=endpoint, token="id:t") == encoded("id:t")


@pytest.mark.parametrize(
    ("environ", "arguments", "blamed"),
    [
        ({"GRAFANA_OTLP_ENDPOINT": REMOTE, "GRAFANA_OTLP_TOKEN": "id:t"}, {}, "GRAFANA_OTLP_ENDPOINT"),
        (
            {"ACME_TELEMETRY_ENDPOINT": REMOTE, "ACME_TELEMETRY_HEADERS": "Authorization=Basic%20abc"},
            {},
            "ACME_TELEMETRY_ENDPOINT",
        ),
        ({"GRAFANA_OTLP_ENDPOINT": REMOTE}, {"token": "id:t"}, "GRAFANA_OTLP_ENDPOINT"),
        ({"GRAFANA_OTLP_ENDPOINT": REMOTE}, {"headers": {"X-Api-Key": "s"}}, "GRAFANA_OTLP_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": REMOTE, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s"},
            {"otel_env": True},
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ({"ACME_TELEMETRY_TOKEN": "id:t"}, {"endpoint": REMOTE}, "ACME_TELEMETRY_TOKEN"),
        ({"ACME_TELEMETRY_TOKEN": "a\x00b"}, {"endpoint": GATEWAY}, "ACME_TELEMETRY_TOKEN"),
        ({"GRAFANA_OTLP_TOKEN": "glc_bare"}, {"endpoint": LOCAL}, "GRAFANA_OTLP_TOKEN"),
        (
            {"ACME_TELEMETRY_ENDPOINT": GATEWAY, "ACME_TELEMETRY_HEADERS": "Content-Type=text/html"},
            {},
            "ACME_TELEMETRY_HEADERS",
        ),
    ],
)
def test_the_environment_cannot_make_the_host_fail(
    environ: dict[str, str], arguments: dict[str, Any], blamed: str
) -> None:
    """What an operator set wrong turns telemetry off and is shown in the status; nothing is raised into the host."""
    settings_found = found(environ, **arguments)

    assert settings_found.sink is None
    assert settings_found.problem.startswith(f"{blamed}: ")


# Headers


def test_headers_of_the_host_come_before_listed_ones() -> None:
    """A header is sent once, in whatever spelling, and the host's own value wins."""
    sink = sink_of({**OWN_HEADERS, "ACME_TELEMETRY_HEADERS": "x-org=listed,x-more=1"}, headers={"X-Org": "host"})

    assert sorted(sink.headers) == [("X-Org", "host"), ("x-more", "1")]


def test_a_token_and_an_authorization_header_contradict_each_other() -> None:
    """Two credentials in the host's own code are a mistake that it is told of."""
    error = refusal(endpoint=GATEWAY, token="id:t", headers={"authorization": "Bearer x"})

    assert error.setting == "token"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-Evil: 1"),
        ("X-A", "1\n"),
        ("X-A", "\x00"),
        ("X-A", " padded"),
        ("X-A", "ü"),
        ("X-A", "\ud800"),
        ("X-A", 1),
        ("X-A", b"1"),
        ("X-A\r\nX-Evil", "1"),
        ("X A", "1"),
        ("", "1"),
        ("X-A:", "1"),
        ("Ü", "1"),
        (1, "1"),
        ("Content-Type", "text/plain"),
        ("content-encoding", "gzip"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "evil.example"),
        ("User-Agent", "curl"),
        ("Connection", "close"),
    ],
    ids=ascii,
)
def test_impossible_headers(name: Any, value: Any) -> None:
    """No header can end the header block, nor replace what the sender sets itself."""
    assert refusal(endpoint=GATEWAY, headers={name: value}).setting == "headers"
    assert refusal(headers={name: value}).setting == "headers"  # said at once, not when a sink appears


@pytest.mark.parametrize("value", ["1%0d%0aX-Evil:%201", "1%00", "1%0a"])
def test_an_encoded_header_injection_is_found(value: str) -> None:
    """Percent-encoding in the environment does not smuggle a second header in."""
    settings_found = found({**OWN_HEADERS, "ACME_TELEMETRY_HEADERS": f"X-A={value}"})

    assert settings_found.sink is None
    assert settings_found.problem.startswith("ACME_TELEMETRY_HEADERS: ")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=1", [("a", "1")]),
        (" a = 1 , b=2,", [("a", "1"), ("b", "2")]),
        ("a=1=2", [("a", "1=2")]),
        ("a=", [("a", "")]),
        ("a,b=2,=3", [("b", "2")]),
        ("Authorization=Basic%20MTIz%3D", [("Authorization", "Basic MTIz=")]),
        ("Authorization=Basic MTIz=", [("Authorization", "Basic MTIz=")]),
    ],
)
def test_header_lists(text: str, pairs: list[tuple[str, str]]) -> None:
    """Headers in the environment are read as OpenTelemetry writes them."""
    assert pairs == parse_header_list(text)


def test_a_file_sink_takes_no_secret() -> None:
    """A file needs no token, so none is kept with it."""
    sink = sink_of({"ACME_TELEMETRY_TOKEN": "id:t"}, endpoint="file:///tmp/t.jsonl", headers={"X-A": "1"})

    assert sink.headers == ()


# What is never shown

TOKENS = st.text(st.characters(codec="utf-8", exclude_characters=" \t\n\r"), min_size=12, max_size=60).map(
    "S3cr3t".__add__
)
FORMS = st.sampled_from(["{}", "Basic {}", "Bearer {}", "id:{}", "Digest {}", "{}\n", "{}\r\nX: y", "{} {}"])
ENDPOINTS = st.sampled_from([GATEWAY, REMOTE, LOCAL, OTHER, "nonsense", "http://[::1", "file:///tmp/t.jsonl"])


def shown_by(settings_found: Settings) -> str:
    return f"{settings_found!r} {settings_found} {settings_found.problem} {settings_found.notes}"


@given(token=TOKENS, form=FORMS, endpoint=ENDPOINTS)
@examples(200)
def test_a_token_is_never_shown(token: str, form: str, endpoint: str) -> None:
    """No repr, note, problem or traceback of this module repeats a token, whatever its form and whoever set it."""
    secret = form.format(token, token)
    for name in ("ACME_TELEMETRY", "GRAFANA_OTLP", "OTEL_EXPORTER_OTLP"):
        environ = {f"{name}_ENDPOINT": endpoint, f"{name}_TOKEN": secret, f"{name}_HEADERS": f"Authorization={secret}"}

        assert "S3cr3t" not in shown_by(found(environ, otel_env=True))
        assert "S3cr3t" not in shown_by(found({**environ, "GRAFANA_OTLP_INSTANCE_ID": "7"}, otel_env=True))
    for arguments in ({"token": secret}, {"headers": {"Authorization": secret}}, {"headers": {"X-Api-Key": secret}}):
        try:
            text = shown_by(found(endpoint=endpoint, **arguments))  # type: ignore[arg-type]
        except ConfigError as error:
            text = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
        assert "S3cr3t" not in text


@given(token=st.text(max_size=40))
@examples(200)
def test_a_header_is_always_sendable(token: str) -> None:
    """Whatever the token, the result is one header line of printable ASCII, or a ConfigError."""
    try:
        header = authorization(token)
    except ConfigError:
        return

    assert header.isascii()
    assert header.isprintable()
    assert header == header.strip()


@given(endpoint=st.text(max_size=30) | st.from_regex(r"https?://[!-~]{1,30}", fullmatch=True))
@examples(300)
def test_an_endpoint_is_a_url_or_refused(endpoint: str) -> None:
    """Whatever the text, it becomes a URL of one line with a host or a file's path, or a ConfigError."""
    try:
        url = parse_endpoint(endpoint)
    except ConfigError:
        return

    assert url.scheme in {"http", "https", "file"}
    assert url.hostname or url.path.startswith("/")
    assert "@" not in url.netloc
    assert url.scheme == "file" or url.path.endswith("/v1/logs")
