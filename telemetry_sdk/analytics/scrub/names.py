"""Which property names say that their value must not leave: a password, an address, a person. Pure.

A name is read as words, however it is spelled (`userEmail`, `user_email`, `USER-EMAIL`, `user.email2`); a part of a
word says nothing, so `author`, `shipped`, `passed` and `tokenizer` are no secrets. Five tables decide:

| table         | denies                                                     | as in                                |
|---------------|------------------------------------------------------------|--------------------------------------|
| `_ANYWHERE`   | a word, wherever it stands in the name                     | `smtp_password_old`, `userEmail`     |
| `_GLUED`      | a word that ends with one, with no sign between            | `useremail`, `accesstoken`           |
| `_AT_THE_END` | a word that is only what it says when it comes last        | `client_ip`, not `ip_version`        |
| `_ALONE`      | a word that is only what it says when it is the whole name | `user`, not `user_role`              |
| `_AFTER`      | a general word after one that makes it personal or secret  | `api_key`, `first_name`, `smtp_pass` |

The last word is what a name is about. So a name that ends in a quantity, a kind or a condition (`token_count`,
`auth_method`, `email_verified`), or begins with one (`has_email`, `max_tokens`), is no secret, nor is a number under
a plural (`emails: 3`), nor a bool under any name. In a map the name around counts as the word before:
``{"smtp": {"pass": ...}}``. What these rules let pass is still searched for secret shapes.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from telemetry_sdk.host import lazy

VERSION: Final = "version"
ROUTE: Final = "route"
QUANTITY: Final = "quantity"


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(text.split())


_ANYWHERE: Final = word_set("""
    password passwd passphrase passcode pincode pwd secret token apikey credential authorization authorisation cookie
    sessionid jsessionid phpsessid connectionstring email username firstname lastname fullname surname nickname
    cardholder hostname filename phone telephone cellphone phonenumber msisdn address addr ssn birth birthday birthdate
    creditcard cardnumber passport imei iban ipaddr psk passwort kennwort benutzername motdepasse correo
    contrasena senha wachtwoord losenord latitude longitude coordinates geolocation latlng latlon lng passord heslo
    haslo parola jelszo salasana sifre adgangskode vorname nachname geburtsdatum geburtstag telefon telefono
    telefonnummer handynummer strasse anschrift kontonummer apellido apellidos cognome sobrenome voornaam achternaam
    prenom fodselsnummer personnummer svnr sozialversicherungsnummer
""")
_GLUED: Final = (
    *("password", "passwd", "secret", "token", "cookie", "apikey", "secretkey", "accesskey", "privatekey"),
    *("email", "username", "hostname", "filename", "address", "passwort", "kennwort", "benutzername"),
)
_AT_THE_END: Final = word_set(
    "ip ipv mail host jwt otp csrf xsrf dsn cvv cvc dob bearer postcode zipcode street fax tel lat lon gps"
)
_ALONE: Final = word_set("user login auth")
_SERVICES: Final = (
    "db database mysql pg postgres redis mongo smtp imap ftp sftp ssh ldap proxy http basic wifi sudo root admin system"
    " os unix windows remote"
)
_AFTER: Final = {
    word: word_set(before)
    for word, before in {
        "auth": f"{_SERVICES} x digest user",
        "card": "credit debit bank",
        "code": "zip postal pin security verification recovery auth mfa otp sms backup pass",
        "for": "forwarded",
        "id": "session machine hardware national tax advertising",
        "key": """
            api secret private access encryption decryption signing auth ssh gpg pgp license licence activation
            recovery master session account storage shared
        """,
        "login": f"{_SERVICES} user account github gitlab owner customer",
        "name": """
            user first last full family given middle maiden real birth legal person client customer contact employee
            patient student member owner author guest sender recipient holder account login host computer machine
            server device file upload attachment document benutzer
        """,
        "number": """
            card cc mobile cell contact account bank routing license licence serial security insurance national tax
        """,
        "plate": "license licence number registration",
        "pass": f"{_SERVICES} user mail key",
        "passe": "de",
        "security": "social",
        "str": "conn connection",
        "string": "connection",
        "token": "access refresh auth api session bearer csrf reset push device",
        "user": f"{_SERVICES} login account current github gitlab",
    }.items()
}
# These name something only as a string: a number under `user` is a number, and a map under `host` is looked into.
_AS_STRINGS: Final = word_set("name user login host auth filename")
# What language models count.
_COUNTED: Final = "tokens"

_HARMLESS_ENDINGS: Final = word_set("""
    count counts total length len size bytes chars limit limits quota budget usage used cost rate ratio score strength
    index position age version type types kind kinds method methods mode format provider strategy scheme flow policy
    status state result error errors failure failures failed success attempt attempts retries verified confirmed valid
    invalid enabled disabled required optional present missing provided changed updated created reset resets expired
    expires expiry expiration lifetime ttl seconds secs ms minutes hours days duration time at sent received opened
    clicked delivered bounced copied frequency consent accepted rejected banner notification notifications preference
    model brand os visible shown hidden feature template country region step screen page button viewed focused toggled
    selected theme system
""")
_HARMLESS_BEGINNINGS: Final = word_set("has is num max min avg mean median total count needs requires supports")

_VERSIONS: Final = word_set("version versions ver release build semver firmware")
_ROUTES: Final = word_set("route routes endpoint page screen view url uri href link pathname referrer")
_ROUTE_PATHS: Final = word_set("url request route page api http")
_QUANTITIES: Final = word_set("""
    ns us ms nanos micros millis ts timestamp time at bytes size duration elapsed uptime offset count total seq
    sequence memory ticks cycles length
""")

_WORD: Final = lazy(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class NameRule(NamedTuple):
    """What a property's name says about its value.

    A *reading* says how ambiguous shapes are read: as `VERSION` 1.2.3.4 is no address, as `ROUTE` /data/export is no
    file, as `QUANTITY` no number is a card's.
    """

    denied: str = ""  # the words that forbid the value to leave
    strings_only: bool = False  # they forbid only strings: a number or a map under this name is something else
    numbers_pass: bool = False  # they are a plural, under which a number is a count
    reading: str = ""
    unclean: bool = False  # the name itself holds a secret

    def denies(self, value: object) -> bool:
        """Tell whether *value* must not leave under this name."""
        # Not isinstance, which asks the object what it is.
        kind = type(value)
        if not self.denied or kind is bool or value is None:
            return False
        if self.strings_only:
            return issubclass(kind, str)
        return not (self.numbers_pass and issubclass(kind, (int, float)))


NO_RULE: Final = NameRule()


def name_rule(name: str, parent: str = "") -> NameRule:
    """Return what *name* says about its value; *parent* is the name of the map around it, if any."""
    words = _words(name)
    if not words:
        return NO_RULE
    reading = _reading(words)
    if words[-1] in _HARMLESS_ENDINGS or words[0] in _HARMLESS_BEGINNINGS:
        return NameRule(reading=reading)
    denied, plural = _denied(words, _words(parent)[-1:])
    return NameRule(denied, denied.rpartition(" ")[2] in _AS_STRINGS, plural, reading)


def _denied(words: list[str], parent: list[str]) -> tuple[str, bool]:
    """Return the words that deny, and whether they are a plural."""
    singles = [_singular(word) for word in words]
    for word, single in zip(words, singles, strict=True):
        if word != _COUNTED and (single in _ANYWHERE or single.endswith(_GLUED)):
            return single, word != single
    plural = words[-1] != singles[-1]
    if singles[-1] in _AT_THE_END or (len(words) == 1 and words[0] in _ALONE):
        return singles[-1], plural
    chain = [*map(_singular, parent), *singles]
    for before, word in itertools.pairwise(chain):
        if before in _AFTER.get(word, ()):
            return f"{before} {word}", plural
    return "", False


# Letters of other scripts that look like Latin ones, in a word that has Latin ones too.
LOOK_ALIKES: Final = dict(
    zip(
        map(
            ord,
            "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0455\u0456\u0458\u04bb\u0501\u0432\u043a\u043c\u0442\u043d"
            "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0405\u0408"
            "\u03bf\u03b1\u03c1\u03bd\u03b9\u03ba\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        ),
        "aeopcxysijhdbkmtnABEKMHOPCTXISJoapvikABEZHIKMNOPTYX",
        strict=True,
    )
)
MIXED: Final = lazy(r"(?=\w{0,64}[A-Za-z])(?=\w{0,64}[\u0370-\u052f])\w+")
_FOREIGN: Final = lazy(
    r"\u043f\u0430\u0440\u043e\u043b|\u5bc6\u7801|\u5bc6\u78bc|\u30d1\u30b9\u30ef\u30fc\u30c9"
    r"|\ube44\ubc00\ubc88\ud638"
    r"|\u03ba\u03c9\u03b4\u03b9\u03ba|\u7535\u8bdd|\u96fb\u8a71|\u59d3\u540d|\u6c0f\u540d"
)


def _plain(name: str) -> str:
    """Return *name* in plain letters, whatever it hides behind: marks, widths, look-alikes, signs that show nothing."""
    import unicodedata

    if _FOREIGN.search(name):
        return "password"
    plain = MIXED.sub(lambda word: word.group().translate(LOOK_ALIKES), unicodedata.normalize("NFKD", name))
    plain = plain.replace("\u0142", "l").replace("\u0131", "i").replace("\u00f8", "o").replace("\u00df", "ss")
    return "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))


def _words(name: str) -> list[str]:
    name = name if name.isascii() else _plain(name)
    return [word.lower() for word in _WORD.findall(name.replace("IPv", "Ipv").replace("OAuth", "Oauth"))]


def _singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _reading(words: list[str]) -> str:
    last = words[-1]
    if not _VERSIONS.isdisjoint(words):
        return VERSION
    if last in _ROUTES or (last == "path" and _ROUTE_PATHS.intersection(words[-2:-1])):
        return ROUTE
    return QUANTITY if last in _QUANTITIES else ""
