"""Facts about the platform, read once into a frozen value. Nothing here raises.

Only coarse facts that the base schema names: no host name, no user name, no path, no address. The names of user and
host are looked at by `own_words` alone, so that the scrubber can remove them from what a host passes.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from telemetry_sdk.base_payload.fields import UNKNOWN, Facts
from telemetry_sdk.host import lazy
from telemetry_sdk.host.guard import is_hosts
from telemetry_sdk.host.quiet import quiet_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The values of OpenTelemetry's os.type and host.arch; what is not listed is passed on in lower case.
_PLATFORMS: Final = {"sunos": "solaris", "cygwin": "windows", "msys": "windows", "hp-ux": "hpux"}
_ARCHITECTURES: Final = {
    **dict.fromkeys(("x86_64", "amd64"), "amd64"),
    **dict.fromkeys(("aarch64", "arm64"), "arm64"),
    **dict.fromkeys(("i386", "i486", "i586", "i686", "x86"), "x86"),
    "ppc64le": "ppc64",
    "ppc": "ppc32",
}
_WORD: Final = lazy(r"[a-z0-9][a-z0-9_.+-]{0,31}")
_VERSION: Final = lazy(r"\d+(?:\.\d+){0,3}")
_LOCALE: Final = lazy(r"([A-Za-z]{2,3})(?:[_-][A-Za-z]{4})?(?:[_-]([A-Za-z]{2}|\d{3}))?(?:[.@].*)?")
_ZONE: Final = lazy(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_CI_VARIABLES: Final = (
    *("CI", "CONTINUOUS_INTEGRATION", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "TRAVIS", "APPVEYOR"),
    *("TF_BUILD", "TEAMCITY_VERSION", "JENKINS_URL", "BITBUCKET_BUILD_NUMBER", "CODEBUILD_BUILD_ID", "DRONE"),
    "CIRRUS_CI",
)
_USER_VARIABLES: Final = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_HOST_VARIABLES: Final = ("HOSTNAME", "COMPUTERNAME", "HOST")
_HOME_VARIABLES: Final = ("HOME", "USERPROFILE")
_NO: Final = frozenset({"", "0", "false", "no", "off"})


def detect(environ: Mapping[str, str], deployment_type: str | None = None) -> Facts:
    """Return the platform's facts; each one that cannot be found out is ``"unknown"``.

    Costs a few milliseconds once per process, for tzlocal; never raises and starts no process. *deployment_type* is
    the host's own word for it, instead of the detected one.
    """
    import platform

    system = _ask(platform.system)
    return Facts(
        platform=_platform(system.lower()),
        os_version=_os_version(system),
        architecture=_architecture(_ask(platform.machine).lower()),
        locale=_locale(environ),
        timezone=_timezone(),
        deployment_type=deployment_type or detect_deployment(environ),
    )


def _ask(question: Callable[[], object]) -> str:
    try:
        answer = question()
    except Exception as error:  # these read files of the system, and raise whatever those provoke
        if is_hosts(error):
            raise
        return ""
    return answer if isinstance(answer, str) else ""


def _platform(name: str) -> str:
    name = re.sub(r"[-_]?(nt)?[-_.\d]+.*$", "", name) if name.startswith(("cygwin", "msys")) else name
    return _word(_PLATFORMS.get(name, name))


def _os_version(system: str) -> str:
    import platform

    text = _ask(platform.release)
    if system == "Darwin":
        text = _ask(lambda: platform.mac_ver()[0]) or text
    elif system == "Windows":
        text = _ask(platform.version) or text
    found = _VERSION.match(text)
    return found.group() if found else UNKNOWN


def _architecture(machine: str) -> str:
    if machine.startswith("armv") and machine not in ("armv8", "armv8l"):
        return "arm32"
    return _word(_ARCHITECTURES.get(machine, machine))


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else UNKNOWN


def _locale(environ: Mapping[str, str]) -> str:
    names = [environ.get(variable, "") for variable in ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE")]
    for name in (*(n.split(":")[0] for n in names if n), _ask(_system_locale)):
        found = _LOCALE.fullmatch(name)
        if found:
            language, region = found.group(1).lower(), found.group(2)
            return f"{language}-{region.upper()}" if region else language
    return UNKNOWN


def _system_locale() -> str:
    """Return the user interface's locale on Windows, the C library's elsewhere."""
    import locale

    if sys.platform == "win32":
        import ctypes

        code = ctypes.windll.kernel32.GetUserDefaultUILanguage()
        return locale.windows_locale.get(code, "")
    return locale.setlocale(locale.LC_CTYPE)


def _timezone() -> str:
    name = _ask(_zone_name)
    return name if _ZONE.fullmatch(name) and len(name) <= 64 else UNKNOWN


def _zone_name() -> str | None:
    import tzlocal

    with quiet_logs():  # of the system's files, some of which it doubts
        return tzlocal.get_localzone_name()


def detect_deployment(environ: Mapping[str, str], root: str = "") -> str:
    """Return how the program is run: the first that fits of ci, kubernetes, podman, docker, wsl, frozen, native.

    *root* stands before the paths that are looked at, for tests.
    """
    if any(environ.get(name, "").strip().lower() not in _NO for name in _CI_VARIABLES):
        return "ci"
    if environ.get("KUBERNETES_SERVICE_HOST") or os.path.exists(f"{root}/var/run/secrets/kubernetes.io"):
        return "kubernetes"
    if environ.get("container") == "podman" or os.path.exists(f"{root}/run/.containerenv"):
        return "podman"
    if os.path.exists(f"{root}/.dockerenv") or environ.get("container") == "docker":
        return "docker"
    if environ.get("WSL_DISTRO_NAME") or environ.get("WSL_INTEROP") or _kernel_is_wsl(root):
        return "wsl"
    if getattr(sys, "frozen", False) or hasattr(sys.modules.get("__main__"), "__compiled__"):
        return "frozen"
    return "native"


def _kernel_is_wsl(root: str) -> bool:
    try:
        with open(f"{root}/proc/sys/kernel/osrelease", encoding="ascii", errors="replace") as file:
            return "microsoft" in file.read().lower()
    except OSError:
        return False


def own_words(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of this machine's user and host, for the scrubber: what may occur in no record.

    The user database is asked only when no variable names the user, for it may lie in the network. A host's name is
    what the machine calls itself, whole and up to its first dot; no DNS is asked.
    """
    users = [environ.get(name, "") for name in _USER_VARIABLES]
    if not any(users):
        users.append(_ask(_user_of_process))
    homes = [environ.get(name, "").replace("\\", "/").rstrip("/").rpartition("/")[2] for name in _HOME_VARIABLES]
    hosts = [environ.get(name, "") for name in _HOST_VARIABLES] + [_ask(lambda: os.uname().nodename)]
    words = (*users, *homes, *hosts, *(host.partition(".")[0] for host in hosts))
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


def _user_of_process() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
