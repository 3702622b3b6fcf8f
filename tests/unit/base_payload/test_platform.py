"""Platform facts: what is found on each system, how a program is run, and that nothing here ever raises."""

from __future__ import annotations

import builtins
import ctypes
import locale
import logging
import os
import platform
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tzlocal

from telemetry_sdk.base_payload.fields import UNKNOWN, Facts
from telemetry_sdk.base_payload.platform import detect, detect_deployment, own_words

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend to be another machine; what is not given is what a platform says that knows nothing."""

    def pretend(
        system: str = "", release: str = "", version: str = "", architecture: str = "", mac: str = "", zone: str = "UTC"
    ) -> None:
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "release", lambda: release)
        monkeypatch.setattr(platform, "version", lambda: version)
        monkeypatch.setattr(platform, "machine", lambda: architecture)
        monkeypatch.setattr(platform, "mac_ver", lambda: (mac, ("", "", ""), ""))
        monkeypatch.setattr(tzlocal, "get_localzone_name", lambda: zone)

    return pretend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with nothing in it."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        (
            {"system": "Linux", "release": "6.1.0-13-amd64", "version": "#1 SMP", "architecture": "x86_64"},
            ("linux", "6.1.0", "amd64"),
        ),
        (
            {"system": "Linux", "release": "5.15.90.1-microsoft-standard-WSL2", "architecture": "aarch64"},
            ("linux", "5.15.90.1", "arm64"),
        ),
        (
            {"system": "Darwin", "release": "23.4.0", "mac": "14.4.1", "architecture": "arm64"},
            ("darwin", "14.4.1", "arm64"),
        ),
        ({"system": "Darwin", "release": "23.4.0", "architecture": "x86_64"}, ("darwin", "23.4.0", "amd64")),
        (
            {"system": "Windows", "release": "10", "version": "10.0.19045", "architecture": "AMD64"},
            ("windows", "10.0.19045", "amd64"),
        ),
        ({"system": "Windows", "release": "11", "architecture": "ARM64"}, ("windows", "11", "arm64")),
        ({"system": "FreeBSD", "release": "14.0-RELEASE-p6", "architecture": "amd64"}, ("freebsd", "14.0", "amd64")),
        ({"system": "OpenBSD", "release": "7.4", "architecture": "i386"}, ("openbsd", "7.4", "x86")),
        ({"system": "NetBSD", "release": "9.3_STABLE", "architecture": "evbarm"}, ("netbsd", "9.3", "evbarm")),
        ({"system": "DragonFly", "release": "6.4", "architecture": "x86_64"}, ("dragonfly", "6.4", "amd64")),
        ({"system": "SunOS", "release": "5.11", "architecture": "i86pc"}, ("solaris", "5.11", "i86pc")),
        ({"system": "AIX", "release": "2", "architecture": "ppc64le"}, ("aix", "2", "ppc64")),
        (
            {"system": "CYGWIN_NT-10.0-19045", "release": "3.4.9-1.x86_64", "architecture": "x86_64"},
            ("windows", "3.4.9", "amd64"),
        ),
        ({"system": "MSYS_NT-10.0-22631", "release": "3.4.10", "architecture": "i686"}, ("windows", "3.4.10", "x86")),
        ({"system": "Linux", "release": "6.1.21-v7+", "architecture": "armv7l"}, ("linux", "6.1.21", "arm32")),
        ({"system": "Linux", "release": "6.1", "architecture": "riscv64"}, ("linux", "6.1", "riscv64")),
        ({}, (UNKNOWN, UNKNOWN, UNKNOWN)),
        ({"system": "../etc", "release": "custom", "architecture": "x 86"}, (UNKNOWN, UNKNOWN, UNKNOWN)),
        ({"system": "x" * 33, "release": "", "architecture": "ü"}, (UNKNOWN, UNKNOWN, UNKNOWN)),
    ],
    ids=lambda value: value.get("system", "nothing") if isinstance(value, dict) else None,
)
def test_each_system(machine: Machine, given: dict[str, str], facts: tuple[str, str, str]) -> None:
    """System, release and architecture are OpenTelemetry's words, and of a release only its number is kept."""
    machine(**given)

    found = detect({})

    assert facts == (found.platform, found.os_version, found.architecture)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, "en-US"),
        ({"LANG": "de_AT"}, "de-AT"),
        ({"LANG": "de_DE@euro"}, "de-DE"),
        ({"LANG": "pt"}, "pt"),
        ({"LANG": "zh_Hans_CN.UTF-8"}, "zh-CN"),
        ({"LANG": "sr_Latn"}, "sr"),
        ({"LANG": "es_419"}, "es-419"),
        ({"LANG": "EN_us"}, "en-US"),
        ({"LANGUAGE": "fr_CA:fr:en"}, "fr-CA"),
        ({"LANG": "it_IT", "LC_MESSAGES": "sv_SE"}, "sv-SE"),
        ({"LC_MESSAGES": "sv_SE", "LC_ALL": "nb_NO"}, "nb-NO"),
        ({"LC_ALL": "", "LANG": "it_IT"}, "it-IT"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "fi"}, "fi"),
        ({"LANG": "C"}, "ja-JP"),  # nothing said: the C library's own
        ({"LANG": "/home/ann/locale"}, "ja-JP"),
        ({"LANG": "\udcff"}, "ja-JP"),
        ({}, "ja-JP"),
    ],
)
def test_locale(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str) -> None:
    """Language and region only, from the first variable that names them."""
    monkeypatch.setattr(locale, "setlocale", lambda _category: "ja_JP.UTF-8")

    assert expected == detect(environ).locale


@pytest.mark.parametrize("said", ["C", "POSIX", "", "LC_CTYPE=C;LC_NUMERIC=C", None])
def test_no_locale(monkeypatch: pytest.MonkeyPatch, said: str | None) -> None:
    """A system without a language is unknown, not English."""
    monkeypatch.setattr(locale, "setlocale", lambda _category: said)

    assert detect({}).locale == UNKNOWN


def test_the_locale_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the language of the user interface counts, which no variable names."""
    kernel = types.SimpleNamespace(GetUserDefaultUILanguage=lambda: 1031)
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")

    assert detect({}).locale == "de-DE"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Europe/Vienna", "Europe/Vienna"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        ("UTC", "UTC"),
        (None, UNKNOWN),
        ("", UNKNOWN),
        ("/usr/share/zoneinfo/UTC", UNKNOWN),
        ("../../home/ann", UNKNOWN),
        ("Europe/Vienna\n", UNKNOWN),
        ("A/" * 40 + "B", UNKNOWN),
        ("x" * 65, UNKNOWN),
        (5, UNKNOWN),
    ],
)
def test_timezone(machine: Machine, zone: Any, expected: str) -> None:
    """The time zone is an IANA name; anything that could be a path or a place on this machine is unknown."""
    machine(zone=zone)

    assert expected == detect({}).timezone


def test_a_doubtful_zone_file_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What tzlocal warns of does not reach the terminal of a program that set up no logging."""

    def doubtful() -> str:
        logging.getLogger("tzlocal").warning("/etc/timezone is deprecated")
        return "Europe/Vienna"

    monkeypatch.setattr(tzlocal, "get_localzone_name", doubtful)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    assert detect({}).timezone == "Europe/Vienna"
    assert capfd.readouterr() == ("", "")


ERRORS = [OSError("no"), ValueError("no"), RuntimeError("no"), KeyError("no"), UnicodeDecodeError("u", b"", 0, 1, "no")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows"])
def test_nothing_here_raises(monkeypatch: pytest.MonkeyPatch, error: Exception, system: str) -> None:
    """Whatever the platform's own functions raise, the fact is unknown and the others are found."""

    def fail(*_: object) -> str:
        raise error

    for name in ("release", "version", "machine", "mac_ver"):
        monkeypatch.setattr(platform, name, fail)
    monkeypatch.setattr(tzlocal, "get_localzone_name", fail)
    monkeypatch.setattr(locale, "setlocale", fail)
    monkeypatch.setattr(platform, "system", lambda: system)

    assert detect({}, "native") == Facts(system.lower(), deployment_type="native")

    monkeypatch.setattr(platform, "system", fail)
    assert detect({}, "native") == Facts(deployment_type="native")


def test_a_file_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Where a sandbox forbids to look, there is no sign to see."""

    def forbid(*_: object, **__: object) -> bool:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", forbid)
        patch.setattr(builtins, "open", forbid)
        found = detect_deployment({}, str(root))

    assert found == "native"


def test_a_warning_made_an_error_is_no_error_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that turns warnings into errors does not get tzlocal's."""

    def warn() -> str:
        warnings.warn("Syntax error in /etc/sysconfig/clock", stacklevel=1)
        return "UTC"

    monkeypatch.setattr(tzlocal, "get_localzone_name", warn)

    assert detect({}).timezone == UNKNOWN


def test_this_machine() -> None:
    """On the machine that runs this test every fact has the documented form."""
    facts = detect(os.environ)

    assert facts.platform in {"linux", "darwin", "windows", "freebsd", "openbsd", "netbsd"}
    assert facts.os_version[0].isdigit()
    assert facts.architecture in {"amd64", "arm64", "x86", "arm32", "ppc64", "s390x", "riscv64"}


def test_facts_hold_no_name_of_user_host_or_home(machine: Machine) -> None:
    """Where a name of user, host or home stands in what is read, it does not get into a fact."""
    home = "/home/ann"
    machine(system=home, release="6.1.0-ann", version=home, architecture=home, zone=f"{home}/zone")
    variables = ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE", "HOSTNAME", "USER", "CI", "container", "WSL_DISTRO_NAME")

    facts = detect(dict.fromkeys(variables, home))

    assert [fact for fact in (getattr(facts, name) for name in Facts.__slots__) if "ann" in fact] == []
    assert facts.os_version == "6.1.0"


# What says how a program is run, strongest first: each kind with all the ways it shows.
SIGNS: dict[str, list[Any]] = {
    "ci": [{"CI": "true"}, {"GITHUB_ACTIONS": "true"}, {"JENKINS_URL": "http://ci"}, {"TEAMCITY_VERSION": "2026.1"}],
    "kubernetes": [{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "var/run/secrets/kubernetes.io"],
    "podman": [{"container": "podman"}, "run/.containerenv"],
    "docker": [{"container": "docker"}, ".dockerenv"],
    "wsl": [{"WSL_DISTRO_NAME": "Ubuntu"}, {"WSL_INTEROP": "/run/WSL/1"}, "proc/sys/kernel/osrelease"],
}


def show(sign: Any, root: Path) -> dict[str, str]:
    """Make *sign* seen under *root* or in the environment that is returned."""
    if isinstance(sign, dict):
        return sign
    path = root / sign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("5.15.90.1-Microsoft-standard-WSL2\n" if "osrelease" in sign else "")
    return {}


@pytest.mark.parametrize(("kind", "sign"), [(kind, sign) for kind, signs in SIGNS.items() for sign in signs], ids=str)
def test_each_sign_of_a_deployment(root: Path, kind: str, sign: Any) -> None:
    """Each variable and file that gives a deployment away is noticed on its own."""
    assert kind == detect_deployment(show(sign, root), str(root))


@pytest.mark.parametrize("kind", SIGNS)
def test_the_stronger_sign_wins(root: Path, kind: str) -> None:
    """A CI job in a pod in a container is a CI job: the order is ci, kubernetes, podman, docker, wsl."""
    weaker = list(SIGNS)[list(SIGNS).index(kind) :]
    environ = {name: value for other in reversed(weaker) for name, value in show(SIGNS[other][0], root).items()}
    for other in weaker:
        environ |= show(SIGNS[other][-1], root)

    assert kind == detect_deployment(environ, str(root))


@pytest.mark.parametrize("value", ["", "0", "false", "False", "no", "off", " "])
def test_a_sign_that_says_no_is_none(root: Path, value: str) -> None:
    """``CI=false`` is no CI."""
    assert detect_deployment({"CI": value, "KUBERNETES_SERVICE_HOST": ""}, str(root)) == "native"


def test_another_kernel_is_not_wsl(root: Path) -> None:
    """A Linux kernel that is not Microsoft's is a native one, and an unreadable file says nothing."""
    release = root / "proc/sys/kernel/osrelease"
    release.parent.mkdir(parents=True)
    release.write_bytes(b"6.1.0-13-amd64 \xff\n")
    assert detect_deployment({}, str(root)) == "native"

    release.unlink()
    release.mkdir()
    assert detect_deployment({}, str(root)) == "native"


def test_an_unknown_container_is_native(root: Path) -> None:
    """``container=lxc`` is none of the kinds we know, so it is not guessed."""
    assert detect_deployment({"container": "lxc"}, str(root)) == "native"


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def freeze(how: str) -> None:
        if how == "PyInstaller":
            monkeypatch.setattr(sys, "frozen", True, raising=False)
        else:
            monkeypatch.setattr(sys.modules["__main__"], "__compiled__", object(), raising=False)

    return freeze


@pytest.mark.parametrize("how", ["PyInstaller", "Nuitka"])
def test_frozen_programs(frozen: Callable[[str], None], root: Path, how: str) -> None:
    """A program packed into one file is frozen, unless something stronger is seen."""
    frozen(how)

    assert detect_deployment({}, str(root)) == "frozen"
    assert detect_deployment({"CI": "1"}, str(root)) == "ci"


def test_an_interpreter_without_a_main_module(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """An embedding program may have no ``__main__``."""
    monkeypatch.delitem(sys.modules, "__main__")

    assert detect_deployment({}, str(root)) == "native"


def test_the_hosts_own_word_is_used(machine: Machine) -> None:
    """A host that says how it is run is believed, and nothing is looked for."""
    machine()

    assert detect({"CI": "true"}, "flatpak").deployment_type == "flatpak"
    assert detect({"CI": "true"}, None).deployment_type == "ci"


@pytest.mark.skipif(not hasattr(os, "uname"), reason="no such call")
@pytest.mark.parametrize(
    ("environ", "node", "words"),
    [
        ({"USER": "jsmith", "HOME": "/home/jsmith"}, "quaxbox", ["jsmith", "quaxbox"]),
        ({"USER": "root", "SUDO_USER": "jsmith", "HOME": "/root"}, "quaxbox", ["root", "jsmith", "quaxbox"]),
        ({"LOGNAME": "jsmith", "HOME": "/srv/people/jane/"}, "", ["jsmith", "jane"]),
        ({"USER": "a"}, "quaxbox.corp.example", ["a", "quaxbox.corp.example", "quaxbox"]),
        (
            {"USERNAME": "Jane S", "USERPROFILE": "C:\\Users\\Jane S", "COMPUTERNAME": "QUAXBOX"},
            "",
            ["Jane S", "QUAXBOX"],
        ),
    ],
)
def test_own_words(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], node: str, words: list[str]) -> None:
    """The names of user, home and host are found for the scrubber, each once, a host's also without its domain."""
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(nodename=node))

    assert list(own_words(environ)) == words


def test_own_words_of_this_machine() -> None:
    """Without any variable the user database and the kernel are asked."""
    words = own_words({})

    assert all(words)
    if hasattr(os, "uname"):
        assert os.uname().nodename in words


def test_own_words_are_found_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry and a system without the call leave nothing to remove, and nothing is raised."""

    def fail(*_: object) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(os, "uname", fail, raising=False)
    monkeypatch.setitem(sys.modules, "pwd", types.SimpleNamespace(getpwuid=fail))

    assert own_words({}) == ()
