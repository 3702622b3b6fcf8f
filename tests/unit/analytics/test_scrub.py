"""What the scrubber removes and what it leaves alone: names, shapes, numbers, this machine's own words."""

from __future__ import annotations

import pytest

from telemetry_sdk.analytics.scrub import QUANTITY, ROUTE, VERSION, Scrubber, Tally

SCRUBBER = Scrubber()
# No token here is whole in the source: those who search repositories for tokens shall find none.
RANDOM = "kQ3vX9zLm2Rt7YwB5nPdk4Jc8HsQ"
HEX = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nAQEA\n-----END " + "RSA PRIVATE KEY-----"


def scrubbed(text: str, reading: str = "") -> tuple[str, dict[str, int]]:
    tally = Tally()
    return SCRUBBER.text(text, tally, reading), dict(tally)


EMAILS = [
    ("jane@example.com", "[email]"),
    ("JANE.DOE+news@Sub.Example.CO.UK", "[email]"),
    ("mail jane@example.com, please", "mail [email], please"),
    ("Jane Doe <jane@example.com>", "Jane Doe <[email]>"),
    ("'jane@example.com'", "'[email]'"),
    ("o'neill@example.ie", "[email]"),
    ("a@example.com;b@example.com", "[email];[email]"),
    ("mailto:jane@example.com", "mailto:[email]"),
    ("email=jane@example.com&lang=de", "email=[email]&lang=de"),
    ("jane%40example.com", "[email]"),
    ("пример@почта.рф", "[email]"),
    ("用户@例子.公司", "[email]"),
    ("ई-मेल@उदाहरण.भारत", "[email]"),
    ("jo\u0308rg@mu\u0308ller.de", "[email]"),  # decomposed, as macOS writes it
    ("jane\uff20example.com", "[email]"),
    ("jane@xn--mller-kva.example", "[email]"),
    ('"jane doe"@example.com', "[email]"),
    ("jane@163.com", "[email]"),
    ("jane@[192.0.2.1]", "[email]"),
    ("jane@[IPv6:2001:db8::1]", "[email]"),
    ("jane@192.0.2.1", "[email]"),
    ("ssh jane@build-server", "ssh [email]"),
    ("@jane@social.example", "@[email]"),
    ("jane:hunter2@db.example:5432", "[token]:5432"),
]
ADDRESSES = [
    ("192.0.2.7", "[ip]"),
    ("192.0.2.7:8080", "[ip]:8080"),
    ("from 192.0.2.7.", "from [ip]."),
    ("peer=192.0.2.7,192.0.2.8", "peer=[ip],[ip]"),
    ("10.0.0.0/8", "[ip]/8"),
    ("worker/10.1.2.3", "worker/[ip]"),
    ("Host/10.1.2.3", "Host/[ip]"),  # as Java prints it; a browser has no such version
    ("ip-10-1-2-3", "[ip]"),
    ("::1", "[ip]"),
    ("2001:db8::1", "[ip]"),
    ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "[ip]"),
    ("1:2:3:4:5:6:7:8", "[ip]"),
    ("[2001:db8::1]:443", "[ip]:443"),
    ("fe80::1ff:fe23:4567:890a%eth0", "[ip]"),
    ("::ffff:192.0.2.1", "[ip]"),
    ("64:ff9b::192.0.2.33", "[ip]"),
    ("source:2001:db8::1", "source:[ip]"),
    ("2001:db8::1: refused", "[ip]: refused"),
    ("2001:db8::/32", "[ip]/32"),
    ("00:1a:2b:3c:4d:5e", "[mac]"),
    ("00-1A-2B-3C-4D-5E", "[mac]"),
    ("001b.4411.3ab7", "[mac]"),  # as Cisco prints it
    ("host 192.0.2.1", "host [ip]"),
    ("connect to 192.0.2.7", "connect to [ip]"),
    ("ip192.0.2.7", "ip[ip]"),
    ("from192.0.2.7", "from[ip]"),
    ("a\\n192.0.2.7", "a\\n[ip]"),  # n is no letter there
    ("a%3D192.0.2.7", "a%3D[ip]"),
    ("Skype 10.0.0.5", "Skype [ip]"),
    ("192.0.2.7-eth0", "[ip]-eth0"),
    ("192.0.2.7-betamax", "[ip]-betamax"),
    ("192.0.2.7-a", "[ip]-a"),
    ("worker192.0.2.7", "worker[ip]"),
]
URLS = [
    ("https://example.com/reset?token=abc", "https://example.com/reset"),
    ("https://example.com/a#section-2", "https://example.com/a"),
    ("https://example.com/a;jsessionid=1A2B", "https://example.com/a"),
    ("HTTPS://jane:hunter2@example.com:8443/a", "HTTPS://example.com:8443/a"),
    ("https://jane:hun/ter2@example.com/a", "https://example.com/a"),
    ("postgres://jane:hunter2@db/notes", "postgres://[host]/notes"),
    ("redis://:hunter2@192.0.2.7:6379/0", "redis://[ip]:6379/0"),
    ("jdbc:postgresql://db.example.com/x?user=jane&password=hunter2", "jdbc:postgresql://db.example.com/x"),
    ("http://[2001:db8::1]:8080/a", "http://[ip]:8080/a"),
    ("http://wiki/start", "http://[host]/start"),
    ("http://wiki.corp/start", "http://[host]/start"),
    ("http://wiki.internal:8080/start", "http://[host]:8080/start"),
    ("https://ec2-192-0-2-7.compute.example.com/", "https://[ip]/"),
    ("https://example.com/users/1234567/edit", "https://example.com/users/[id]/edit"),
    ("https://example.com/n/2ab2916d-a51f-4ac8-80ee-45ac31a28092.pdf", "https://example.com/n/[id].pdf"),
    (f"https://example.com/reset/{HEX}", "https://example.com/reset/[id]"),
    (f"https://example.com/reset/{RANDOM}", "https://example.com/reset/[token]"),
    ("https://example.com/u/jane@example.org/x", "https://example.com/u/[email]/x"),
    ("https:\\/\\/example.com\\/a?q=x", "https://example.com/a"),
    ("https%3A%2F%2Fjane%3Apw%40example.com%2Fa%3Fq%3Dx", "https://example.com/a"),
    ("(see https://example.com/a?q=x) now", "(see https://example.com/a now"),
    ("/search?q=private+words&page=2", "/search"),
    ("example.com/search?q=private", "example.com/search"),
    ("search?q=private", "search"),
    ("opened search?q=my+words", "opened search"),
    ("is it a.example/ok?yes=no", "is it a.example/ok"),
    ("?code=4/0AbCd", ""),
    ("?email=jane&x=1", ""),
    ("?q=my+private+search", ""),
    ("at ?q=private then", "at  then"),
    ('"?q=private"', '""'),
    ("file:///home/jane/notes.txt", "file://[path]"),
    ("FILE://server/share/notes.txt", "FILE://[path]"),
    ("sqlite:////srv/notes.db", "sqlite://[path]"),
    ("smb://server/share", "smb://[path]"),
]
PATHS = [
    *(
        (path, "[path]")
        for path in ("/home/jane", "/Users/jane", "/root", "/root/.ssh/id_rsa", "/home/jane/a b/c d.txt")
    ),
    *((path, "[path]") for path in ("C:\\Users\\jane", "C:/Users/jane/x", "d:\\notes", "\\\\?\\C:\\Users\\jane")),
    *(
        (path, "[path]")
        for path in ("C:\\\\Users\\\\jane\\\\x", "\\\\server\\share\\x", "\\\\\\\\server\\\\share", "//nas/share/x")
    ),
    *((path, "[path]") for path in ("/Volumes/Disk/x", "/mnt/x", "/media/jane/usb", "/data/x.csv", "/var/log/x")),
    *(
        (path, "[path]")
        for path in ("/private/var/x", "/mnt/c/Users/jane/x", "/c/Users/jane", "/cygdrive/c/Users/jane")
    ),
    *(
        (path, "[path]")
        for path in ("/srv/x", "/opt/x/bin", "/etc/x.conf", "/tmp/x", "/usr/home/jane", "/proc/1/environ")
    ),
    *(
        (path, "[path]")
        for path in ("/run/user/1000/x", "/nix/store/abc-x", "/export/home/jane", "/storage/emulated/0/x")
    ),
    *((path, "[path]") for path in ("~/notes", "~jane/notes", "$HOME/notes", "%APPDATA%\\notes", "/home/o'neill/x")),
    *(
        (path, "[path]")
        for path in ("/app/main.py", "/code/acme/plan.docx", "%2Fhome%2Fjane%2Fx", "\\/home\\/jane\\/x.py")
    ),
    ("%252Fhome%252Fjane", "[path]"),
    ("at %25252Fhome%25252Fjane%25252Fx.py", "at [path]"),
    ("\\u002fhome\\u002fjane", "[path]"),
    ("\\u002FUsers\\u002Fjane\\u002Fx.txt", "[path]"),
    ("/home/index/x", "[path]"),
    ("/home/profile.txt", "[path]"),
    ("/home/jane-index", "[path]"),
    ("/data/export.csv", "[path]"),
    ("/data/import/jane", "[path]"),
    ("../../home/jane/x", "../..[path]"),
    ('File "/srv/notes/x.py", line 3, in save', 'File "[path]", line 3, in save'),
    ('File "/app/run", line 3', 'File "[path]", line 3'),
    ("No such file: '/home/jane/My Files/x y.txt' (2)", "No such file: '[path]' (2)"),
    ("open /home/jane doe/My Files/x.txt failed", "open [path] failed"),
    ("C:\\Program Files (x86)\\Notes\\x.exe crashed", "[path] crashed"),
    ("C:\\Users\\Jane Doe", "[path]"),
    ("cannot read /home/jane/a.txt because b.txt is missing", "cannot read [path] because b.txt is missing"),
    ("copied /var/a.log to /tmp/b.log.", "copied [path] to [path]."),
    ("at save (/home/jane/x.js:3:14)", "at save ([path]:3:14)"),
    ("PATH=/usr/bin:/home/jane/bin ok", "PATH=[path] ok"),
    ("<path>/home/jane/x</path>", "<path>[path]</path>"),
    ("“/home/jane/a b” opened", "“[path]” opened"),
    ("--config=/etc/x.toml", "--config=[path]"),
]
TOKENS = [
    *(
        (prefix + RANDOM, "[token]")
        for prefix in (
            "ghp_",
            "gho_",
            "github_pat_",
            "glpat-",
            "xoxb-",
            "sk_live_",
            "rk_test_",
            "AIza",
            "sk-",
            "sk-ant-",
        )
    ),
    *(
        (prefix + RANDOM, "[token]")
        for prefix in ("glc_", "glsa_", "npm_", "hf_", "whsec_", "ya29.", "hvs.", "lin_api_")
    ),
    ("pypi-" + RANDOM * 2, "[token]"),
    ("AKIA" + "IOSFODNN7EXAMPLE", "[token]"),
    ("wJalrXUtnFEMI/" + "K7MDENG/bPxRfiCYEXAMPLEKEY", "[token]"),
    ("xoxb-" + "123-abc-def", "[token]"),
    ("123456789:AA" + RANDOM + "QvR5", "[token]"),
    ("https://hooks.slack.com/" + "services/T000/B000/" + "X" * 24, "https://hooks.slack.com/[token]"),
    ("hooks.slack.com/" + "services/T00/B00/zorkXYZ123", "hooks.slack.com/[token]"),
    ("curl -u admin:zorkpw1 https://example.com/a", "curl -u [token] https://example.com/a"),
    ("curl -u 'admin:zork pw1' x", "curl -u [token] x"),
    ("curl --user name:pw x", "curl --user [token] x"),
    ("curl --user=admin:pw x", "curl --user=[token] x"),
    ("curl --proxy-user name:p&w x", "curl --proxy-user [token] x"),
    ("sid=31337007", "sid=[token]"),
    ("token: 3", "token: [token]"),
    ("password: 'identifier'", "password: [token]"),
    ("token: identifier7", "token: [token]"),
    ("Basic Zm9vOmJh1", "Basic [token]"),
    ("eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.abc-def_123", "[token]"),
    (PEM, "[token]"),
    (PEM[:50], "[token]"),  # its end is missing
    (f"key {PEM} end", "key [token] end"),
    (RANDOM, "[token]"),
    (RANDOM[:20], "[token]"),
    (f"seen {RANDOM[:14]}-{RANDOM[14:]}_x1.", "seen [token]."),
    ("Authorization: Bearer abc.def", "Authorization: [token]"),
    ('Authorization: Digest username="jane"', "Authorization: [token]"),
    ('Authorization: Digest username="Mufasa", realm="x", response="6629fae4"\nnext', "Authorization: [token]\nnext"),
    ('Authorization: Hawk id="dh37", ts="13538", mac="6R4rV5iE+NPo="', "Authorization: [token]"),
    ('the header "Authorization: Token x9" was refused', 'the header "Authorization: [token]" was refused'),
    ('Cookie: a="s3cr3tvalue"; b=2', "Cookie: [token]"),
    ('x-api-key: "abc def" and more', 'x-api-key: "[token]" and more'),
    ('password="the quick brown fox 42"', "password=[token]"),
    ('{"password": "is it safe 99"}', '{"password": [token]}'),
    ("Passwort: geheim7", "Passwort: [token]"),
    ("contrase\u00f1a: secreto9", "contrase\u00f1a: [token]"),
    ("mot de passe: chat2000", "mot de passe: [token]"),
    ("l\u00f6senord: hemlig9", "l\u00f6senord: [token]"),
    (
        "\u043f\u0430\u0440\u043e\u043b\u044c: \u0442\u0430\u0439\u043d\u0430",
        "\u043f\u0430\u0440\u043e\u043b\u044c: [token]",
    ),
    ("p\u200bass\u00adword=hunter2", "password=[token]"),
    ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44=hunter2", "password=[token]"),
    ("{'Authorization': 'Basic YTpi'}", "{'Authorization': '[token]'}"),
    ("Cookie: session=abc; theme=dark", "Cookie: [token]"),
    ("X-Api-Key: abc", "X-Api-Key: [token]"),
    ("Bearer abcdefgh", "Bearer [token]"),
    ("Basic amFuZTpodW50ZXIy", "Basic [token]"),
    ("password=hunter2", "password=[token]"),
    ("pass = password: hunter2", "pass = password: [token]"),
    ("token: the password is hunter2", "token: the password is [token]"),
    ("secret: password is hunter2", "secret: password is [token]"),
    ("password=token:", "password=[token]"),
    ("Password: hunter2, next", "Password: [token], next"),
    ("the password is hunter2!", "the password is [token]"),
    ("password: 'hunter 2' x", "password: [token] x"),
    ('{"api_key": "abc def", "n": 1}', '{"api_key": [token], "n": 1}'),
    ('{\\"token\\": \\"abc\\"}', '{\\"token\\": [token]}'),
    ("DB_PASSWORD=hunter2", "DB_PASSWORD=[token]"),
    ("accessToken=abc&x=1", "accessToken=[token]&x=1"),
    ("secret_key_base => abc", "secret_key_base => [token]"),
    ("<password>hunter2</password>", "<password>[token]</password>"),
    ("run --password hunter2 --fast", "run --password [token] --fast"),
    ("run --api-key=abc", "run --api-key=[token]"),
    ("Server=db;User Id=jane;Password=hunter2;", "Server=db;User Id=[user];Password=[token];"),
    ("username=jane", "username=[user]"),
    ("username: jane", "username: [user]"),
]
NUMBERS = [
    ("0699 123 45 678", "[phone]"),
    ("48.20849, 16.37208", "[place]"),
    ("-33.8688;151.2093", "[place]"),
    ("4111111111111111", "[card]"),
    ("4111 1111 1111 1111", "[card]"),
    ("4111-1111-1111-1111", "[card]"),
    ("4242424242424242", "[card]"),
    ("5555555555554444", "[card]"),
    ("2223003122003222", "[card]"),
    ("378282246310005", "[card]"),
    ("3782 822463 10005", "[card]"),
    ("6011111111111117", "[card]"),
    ("30569309025904", "[card]"),
    ("3530111333300000", "[card]"),
    ("6200000000000005", "[card]"),
    ("4111 1111 1111 1111 12/29", "[card] 12/29"),
    ("12 4111 1111 1111 1111", "12 [card]"),
    ("card4111111111111111.", "card[card]."),
    ("4111 1111 1111 1111a", "[card]a"),  # no hash is as short
    ("4111111111111111.0", "[card].0"),
    ("DE89370400440532013000", "[iban]"),
    ("GB29 NWBK 6016 1331 9268 19", "[iban]"),
    ("123-45-6789", "[ssn]"),
    ("+49 30 1234567", "[phone]"),
    ("+1 (555) 123-4567", "[phone]"),
    ("+493012345678", "[phone]"),
    ("(555) 123-4567", "[phone]"),
]


@pytest.mark.parametrize(
    ("text", "becomes"), [*EMAILS, *ADDRESSES, *URLS, *PATHS, *TOKENS, *NUMBERS], ids=lambda value: ascii(value)[:40]
)
def test_secret_shapes(text: str, becomes: str) -> None:
    """Each shape is replaced, what is around it stays, what went is counted, and a second look finds nothing."""
    result, removed = scrubbed(text)

    assert becomes == result
    assert sum(removed.values()) >= 1
    assert not any(text in kind for kind in removed)
    assert scrubbed(result) == (result, {})


@pytest.mark.parametrize("text", [text for text, _ in [*EMAILS, *ADDRESSES, *PATHS, *NUMBERS]], ids=ascii)
@pytest.mark.parametrize("around", ["{}\n", "\t{}", '"{}"', "({})", "a: {} b", "x {}, y", "<{}>", "grüße\n{} 日本"])
def test_what_stands_around_does_not_hide_a_shape(text: str, around: str) -> None:
    """A secret is found inside a sentence, in quotes, brackets and lists, and beside letters of any script."""
    assert text not in scrubbed(around.format(text))[0]


HARMLESS = """
\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645|\U0001f468\u200d\U0001f469\u200d\U0001f467|\uff21\uff22\uff23 \uff34\uff25\uff33\uff34
0.1234, 0.2345|12.34567 88.12345|password: required|Passwort ist falsch|contraseña incorrecta|0800 123 456
dark|cli|Timer started|a|-|--|_|...|…|/|//|~|?|@|:|%|#|$|0|1|-1|3.14|1,234.56|1.234,56 €|$3.99|USD 12.00|50%|99.99 %|½
1e-10|6.02e23|-273.15|+5|+1234567|1_000_000|1 000 000 000 000|0x1F|0b1010|0.30000000000000004|0.4111111111111111|4111111111111111.25|NaN
3/4|16:9|1:1|24/7|1/2|1920x1080|±5|≥ 10|km/h|5'10"|№ 5|1st|100k|5GB|Q1 2026|FY26
2.4.0|v1.2.3.4|version 1.2.3.4|1.2.3.4.5|2026.1.2.3|10.0.19045.3803|2.4.0-beta.1+build.5|1.2.840.113549.1.1.1|>=3.11,<4
2026-05-28|28.05.2026|05/28/2026|20260528|2026-W22-4|2026-05-28T20:26:40.123Z|2026-05-28 20:26:40+02:00|20:26:40|1:30 PM
Thu, 28 May 2026 20:26:40 GMT|12:34:56.789|+02:00|GMT+5:30|PT1H30M|P3Y6M4DT12H30M5S|1h 30m|1.5s|1780000000|1780000000123456789
2ab2916d-a51f-4ac8-80ee-45ac31a28092|{2AB2916D-A51F-4AC8-80EE-45AC31A28092}|2ab2916da51f4ac880ee45ac31a28092
3f2a9c1|3f2a9c1d2b4e|da39a3ee5e6b4b0d3255bfef95601890afd80709|d41d8cd98f00b204e9800998ecf8427e|v1.2-14-g2414721a0b|ab4111111111111111cdef0123456789ab
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855|h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==
00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01|01ARZ3NDEKTSV4RRFFQ69G5FAV|aGVsbG8gd29ybGQ=|aGVsbG8=
en-US|de_AT.UTF-8|zh-Hant-TW|sr-Latn-RS|Europe/Vienna|America/Argentina/Buenos_Aires|utf-8|latin-1|UTC+2
grüße|日本語 テスト|Привет мир|שלום|مرحبا|हिन्दी|ไทย|한국어|Ωμέγα|😀👍|🎉 done!|Rindfleischetikettierungsüberwachungsaufgaben
#ff00ff|rgb(1, 2, 3)|rgba(0,0,0,.5)|linear-gradient(90deg, #fff 0%, #000 100%)|!important|::before|@media (max-width: 600px)
text/html; charset=utf-8|application/vnd.openxmlformats-officedocument.wordprocessingml.document|image/svg+xml|gzip, deflate, br
/|/api/v1/users|/settings/profile|/users/{id}|/users/<int:id>|/<int:id>/data/export|/:lang/docs|/{tenant}/home/feed|/home|/data|/home/{id}|/data/:id
/static/app.js|/favicon.ico|/docs/guide.html|^/users/\\d+$|GET /api/v1/items/{id} HTTP/1.1|api/v1/users|api/data/export
https://example.com|https://example.com/docs/getting-started|http://localhost:8080/health|https://medium.com/@author/post
https://example.com/a?|chrome://settings/privacy|myapp://open/item|https%3A%2F%2Fexample.com%2Fdocs|[x](https://example.com/a)
os.path|__init__|my_package.sub.module:function|com.example.app.MainActivity|foo.<locals>.bar|std::vector<int>|Foo::Bar|a::b
dict[str, list[int]]|def f(x: int = 3) -> str|a && b || c|x ? y : z|lambda x: x|SELECT name FROM users WHERE a = 1|HEAD~1|HEAD@{1}
report.pdf|archive.tar.gz|report (final).pdf|IMG_20240528_123456.jpg|logo@2x.png|src/app/main.py|./run.sh|lib/python3.11/site-packages
node_modules/react/index.js|a\\b|\\n|C:|Option C: yes|\\d+\\w+|libssl.so.3|python311.dll|index-DiwrgTda.js
react@18.2.0|@types/node@20.1.0|actions/checkout@v4|numpy==1.26.4|ghcr.io/org/app:1.2.3|app@latest|python:3.11@sha256:abc123
@mention|user@|me @ work|AT&T|Q&A|N/A|I/O error|TCP/IP|and/or|C++|C#|.NET 8|node.js|Ctrl+Shift+P|TLS_AES_128_GCM_SHA256
200 OK|404 Not Found|HTTP/1.1|status: ok|key=value|k=v;k2=v2|limit=10&offset=20|Accept: */*|cache-control: no-cache|W/"67ab43"
TypeError: 'NoneType' object is not subscriptable|[Errno 13] Permission denied|ENOENT: no such file or directory|Error 0x80070005
ValueError: invalid literal for int() with base 10: 'abc'|Unexpected token: punc (})|passed: 12, failed: 3|pass=12|{"count": 3}
Basic plan|basic JavaScript|Basic authentication|bearer token|Bearer authentication failed|token expired|3 of 10 tokens
Password: required|password is too short|forgot_password_clicked|login: failed|user logged in|user=guest|user=42|the password is required|your token was refused|author: unknown|csrf: on
1.2.3.4-beta|1.2.3.4-rc1|1.2.3.4b2|fw2.1.0.3|kernel 5.4.0.1|firmware 2.1.0.3|Firmware: 2.1.0.3|iTunes 12.13.1.3|Section 3.5.2.1|OID 2.5.29.15
4222222222222|4006381333931|::|at :: now|[::]:8080|2024.0312.1234|face.feed.dead
is it ok?yes=no|what about this?really=sure.|(?P=name)|(?P<name>a)|a ? b=c : d|docker run -u 1000:1000 x|date -u +%H:%M|sort -u a b: c|--user name
token: identifier|token: ')'|Token: string|token: )|sid=3|session id: 3|session_id=12|Basic Training2
getElementsByTagNameNS2|SomeVeryLongCamelCaseIdentifierName2Version3
/home/index|/home/dashboard|/home/settings|opened /home/about.|/data/export|/data/import|GET /data/download
AbstractSingletonProxyFactoryBean|the_quick_brown_fox_jumps_over_2_lazy_dogs|how-to-build-a-new-feature-in-2024|monkey: see
x86_64-unknown-linux-gnu|global-navigation-sidebar-toggle|task_test_connection_pool_size|keyJoinTableNameForUsers|SHA256withRSA
feature/ABC-123_new-login|refs/heads/main|web-7d4b9c6f5d-x2x9z|ami-0abcdef1234567890|ISBN 9783161484100|DE89370400440532013001|save@https://example.com/x.js:3:14|100-20-30|order 4711
Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0|curl/8.4.0|PostmanRuntime/7.36.1|iPhone14,2|SM-G998B
Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0
Python 3.11.7 (main, Dec  8 2023, 14:22:46) [GCC 13.2.0] on linux|Linux-6.5.0-x86_64-with-glibc2.39|Windows NT 10.0; Win64; x64
Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz|NVIDIA GeForce RTX 3060/PCIe/SSE2|5.15.0-91-generic|#1 SMP PREEMPT_DYNAMIC Debian 6.1
"""


@pytest.mark.parametrize(
    "text", [text for line in HARMLESS.strip().splitlines() for text in line.split("|")], ids=ascii
)
def test_harmless_values(text: str) -> None:
    """Versions, dates, ids, hashes, routes, code and words of any language are not touched: over-scrubbing is a defect."""
    assert scrubbed(text) == (text, {})
    assert SCRUBBER.is_clean(text)


@pytest.mark.parametrize(
    ("text", "reading", "becomes"),
    [
        ("1.2.3.4", "", "[ip]"),
        ("1.2.3.4", VERSION, "1.2.3.4"),
        ("v10.0.0.1-beta", VERSION, "v10.0.0.1-beta"),
        ("update from 10.0.0.1", VERSION, "update from [ip]"),
        ("/data/exports", "", "[path]"),
        ("/data/exports", ROUTE, "/data/exports"),
        ("/home/dashboard", ROUTE, "/home/dashboard"),
        ("/home/jane/notes.txt", ROUTE, "[path]"),
        ("C:\\Users\\jane", ROUTE, "[path]"),
        ("/notes/1234567", "", "/notes/1234567"),
        ("/notes/1234567", ROUTE, "/notes/[id]"),
        ("/reset?token=abc", ROUTE, "/reset"),
    ],
)
def test_a_name_may_say_how_a_value_is_read(text: str, reading: str, becomes: str) -> None:
    """Under a version's name 1.2.3.4 is a version, under a route's name only what cannot be a route is a file."""
    assert becomes == scrubbed(text, reading)[0]


@pytest.mark.parametrize(
    ("number", "reading", "becomes"),
    [
        (4111111111111111, "", "[card]"),
        (4111111111111111.0, "", "[card]"),
        (4222222222222, "", 4222222222222),  # so short are the numbers of goods
        (4111111111111111, QUANTITY, 4111111111111111),
        (4111111111111112, "", 4111111111111112),  # the check digit does not fit
        (1780000000123456789, "", 1780000000123456789),
        (1780000000123, "", 1780000000123),
        (7234567890123456789, "", 7234567890123456789),
        (-4111111111111111, "", -4111111111111111),
        (4111111111111.5, "", 4111111111111.5),
        (1e300, "", 1e300),
        (True, "", True),
    ],
)
def test_numbers_of_cards(number: float, reading: str, becomes: object) -> None:
    """A number is a card's with prefix, length and check digit; times since 1970 and quantities never are."""
    tally = Tally()

    assert SCRUBBER.number(number, tally, reading) == becomes
    assert dict(tally) == ({} if number == becomes else {"card": 1})


DENIED = """
email userEmail user_email USER-EMAIL user.email2 emailAddress e_mail mail useremail emails email_hash
password smtp.password DB_PASSWORD passwordOld userpassword passwd pwd passphrase db_pass
token access_token accessToken accesstoken csrf_token refresh_tokens oauth2_token secret client_secret secrets
api_key apiKey APIKey x-api-key private_key secretKey ssh_key license_key credential credentials
auth basic_auth authorization Authorization cookie Set-Cookie session_id sessionId jwt otp dsn connection_string
username userName user_name login github_login user db_user login_name
ip client_ip clientIP ipAddress IPv4Address ip_address remote_addr ipv6 x_forwarded_for
hostname host_name host db_host computer_name machine_id serial_number mac_address
first_name lastName full_name surname client_name author_name filename file_name
address street_address billingAddress address1 zip_code postcode phone phone_number phoneNumber
ipaddr ip_addr clientIpaddr psk wifi_psk passwort dbPasswort kennwort benutzername benutzerName mot_de_passe motDePasse motdepasse
correo correo_electronico ssn social_security credit_card creditCard card_number cvv iban account_number date_of_birth dob passport
"""
ALLOWED = """
tokens tokens_used token_count token_type max_tokens input_tokens tokenizer
shipped ship zip_used tips skip author authored_by authors passed pass_rate bypass compass secretary password_length
username_length user_count user_role user_agent user_id per_user users email_verified email_count has_email emails_sent
auth_method auth_provider authenticated two_factor_auth phone_country password_screen oauth_provider isOAuth login_method login_count last_login
cookie_consent cookies_accepted session session_duration id order_id key sort_key primary_key cache_key keyboard hotkey
page name feature_name event_name plan_name theme_name code country_code error_code number order_number
ip_version ipc description address_type phone_model card_type cards ghost_mode hosted hosting microphone mailing_list
mot passe pskov correos_count version os_version path_length locale currency city source target mode kind passport_required
"""


@pytest.mark.parametrize("name", DENIED.split())
def test_names_that_deny_their_value(name: str) -> None:
    """A forbidden word is found in snake, camel, kebab and dotted spelling and beside other words."""
    rule = SCRUBBER.rule(name)

    assert rule.denies("anything")
    assert not rule.denies(True)  # one bit names nobody
    assert not rule.denies(None)


@pytest.mark.parametrize("name", ALLOWED.split())
def test_names_that_say_nothing(name: str) -> None:
    """A part of a word forbids nothing, and what is about a quantity, kind or condition is no secret."""
    assert not SCRUBBER.rule(name).denies("anything")


@pytest.mark.parametrize(
    ("name", "value", "denies"),
    [
        ("password", 1234, True),
        ("password", {"value": "x"}, True),
        ("password", ["x"], True),
        ("password", b"x", True),
        ("email", 5, True),
        ("emails", 5, False),
        ("cookies", 5.0, False),
        ("emails", ["x"], True),
        ("user", 42, False),
        ("user", {"plan": "pro"}, False),
        ("user", "jane", True),
        ("host", {"cpus": 4}, False),
    ],
)
def test_what_kind_of_value_a_name_denies(name: str, value: object, denies: bool) -> None:
    """A secret is one in every type; a plural counts numbers, and a general word names something only as a string."""
    assert SCRUBBER.rule(name).denies(value) is denies


@pytest.mark.parametrize(
    ("parent", "name", "denied"),
    [
        ("smtp", "pass", "smtp pass"),
        ("users", "name", "user name"),
        ("session", "id", "session id"),
        ("api", "key", "api key"),
        ("plan", "name", ""),
        ("email_count", "total", ""),
    ],
)
def test_the_map_around_counts_as_the_word_before(parent: str, name: str, denied: str) -> None:
    """A general name is personal or secret by the map it stands in."""
    assert SCRUBBER.rule(name, parent).denied == denied


OWN = Scrubber(["jsmith", "Quaxbox", "quaxbox.corp.example", "vm", "root", "localhost", "1234", ""])


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("jsmith", "[local]"),
        ("started by JSmith on quaxbox", "started by [local] on [local]"),
        ("quaxbox.corp.example", "[local]"),
        ("jsmith_notes/quaxbox-2", "[local]_notes/[local]-2"),
        ("http://quaxbox.corp.example/x", "http://[local]/x"),
        ("https://quaxbox.corp.example.com/x", "https://[local].com/x"),
        ("jsmithson", "jsmithson"),
        ("the vm of root at localhost, 1234", "the vm of root at localhost, 1234"),
    ],
)
def test_own_words(text: str, becomes: str) -> None:
    """This machine's names go as whole words in any case; short ones and those that name nobody stay."""
    assert becomes == OWN.text(text)
    assert OWN.is_clean(text) is (text == becomes)


def test_a_name_may_hold_a_secret_itself() -> None:
    """A property's name with an own word or a token in it is unclean."""
    assert OWN.rule("jsmith_notes").unclean
    assert OWN.rule("ghp_" + RANDOM).unclean
    assert not OWN.rule("notes_of_a_jsmithson").unclean


def test_rules_are_kept_for_a_bounded_number_of_names() -> None:
    """A host that makes up names without end does not fill the memory, and every name is judged all the same."""
    scrubber = Scrubber()
    verdicts = {scrubber.rule(f"n{number}x.password").denied for number in range(5000)}

    assert verdicts == {"password"}
    assert scrubber.rule.cache_info().currsize <= 1000


def test_of_a_long_text_only_what_was_looked_at_is_kept() -> None:
    """A text is cut where the scrubber stops looking, with room for the secret that the cut halves."""
    tally = Tally()
    result = SCRUBBER.text("x " * 4090 + "jane@example.com" + " y" * 50_000, tally)

    assert len(result) < 8192
    assert result.endswith("…[cut]")
    assert "jane" not in result
    assert "example" not in result


def test_a_halved_secret_at_the_end_of_what_is_looked_at() -> None:
    """Wherever the limit falls inside a secret, no part of it is left."""
    for start in range(8192 - 40, 8192 + 1):
        text = SCRUBBER.text(
            "x" + " y" * (start // 2) + " " * (start % 2) + "hunter2hunter2@secretplace.example" + " z" * 100
        )
        assert "hunter2" not in text
