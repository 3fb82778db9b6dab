"""Who is let in, and from where: the address, the password, sessions, origins and rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepsight.streams.base import SinkError
from keepsight.streams.guesses import MOST_ADDRESSES, Rate
from keepsight.streams.listening import is_from_here
from keepsight.streams.sinks import open_sink
from keepsight.streams.web.access import SESSION_SECONDS, Guard
from keepsight.streams.web.target import PASSWORD_VARIABLE, parse_target


def target(url: str, password: str = ""):
    return parse_target(url, environment={PASSWORD_VARIABLE: password} if password else {})


def test_without_a_host_only_this_machine_is_listened_to() -> None:
    found = target("web://:8080")
    assert (found.host, found.port, found.password) == ("127.0.0.1", 8080, None)
    assert found.address == "http://127.0.0.1:8080/"
    assert target("web://[::1]:80").address == "http://[::1]:80/"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.0.7", "cameras.local", "127.0.0.1.evil.com"])
def test_the_network_is_not_listened_to_without_a_password(host: str) -> None:
    with pytest.raises(
        SinkError, match=r"without a password: set KEEPSIGHT_WEB_PASSWORD, or write web://:80 "
    ):
        target(f"web://{host}:80")
    with pytest.raises(SinkError, match="the password is too short"):
        target(f"web://:short@{host}:80")
    assert target(f"web://{host}:80", "long enough").password == "long enough"


def test_the_password_in_the_url_is_decoded_wins_and_is_shown_nowhere() -> None:
    found = target("web://:p%40ss%2Fword@0.0.0.0:80", "other one")
    assert found.password == "p@ss/word"
    assert "ss" not in found.url.replace("***", "")
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("web://", "the address cannot be read"),
        ("web://:99999", "the address cannot be read"),
        ("web://:80/page", "the address cannot be read"),
        ("web://eve:secret-word@:80", "there are no user names here"),
        ("web://:80?cert=a.pem", "give both"),
        ("web://:80?cert=&key=b.pem", "cert= is empty"),
        ("web://:80?colour=red", "no parameter 'colour'; there are cert, key"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(url: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason) as error:
        target(url)
    assert "secret-word" not in str(error.value)


async def test_cameras_share_a_server_where_their_urls_say_the_same() -> None:
    servers: dict = {}
    at = "web://127.0.0.1:0"
    porch, drive, again, _ = (
        open_sink(at, camera=camera, servers=servers) for camera in ("porch", "drive", "porch", "shed")
    )
    open_sink("web://:8081", camera="porch", servers=servers)
    server, _ = servers.values()
    async with porch, drive:
        assert list(server.cameras) == ["porch", "drive"], "a sink is there once it is entered"
        with pytest.raises(SinkError, match="given twice for porch"):
            async with again:
                pass


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    with pytest.raises(SinkError, match=r"the certificate .*c\.pem with its key cannot be used"):
        target(f"web://:80?cert={tmp_path / 'c.pem'}&key={tmp_path / 'c.pem'}").tls()


def test_a_guard_without_a_password_admits_who_names_this_machine() -> None:
    guard = Guard(None)
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80", "LOCALHOST:8080"):
        assert guard.admits(host, "", "")
    for host in ("evil.com", "127.0.0.1.evil.com:8080", "", "[", "10.0.0.1"):
        assert not guard.admits(host, "", ""), "a name that somebody else made point to us"


def test_a_guard_with_a_password_admits_that_or_a_session_of_its_own() -> None:
    now = [1000.0]
    guard = Guard("correct horse", lambda: now[0])
    session = guard.open_session()
    assert guard.admits("evil.com", session, "")
    assert guard.admits("x", "", "Bearer correct horse")
    end, _, signature = session.partition(".")
    for wrong in ("", "x", f"{int(end) + 1}.{signature}", f"{end}.", f".{signature}", f"{end}.é", "９.x"):
        assert not guard.admits("localhost", wrong, "")
    for wrong in ("Bearer wrong", "Bearer ", "Basic correct horse", "correct horse"):
        assert not guard.admits("localhost", "", wrong)
    assert not Guard("correct horse").admits("x", session, ""), "another process has other sessions"
    now[0] += SESSION_SECONDS
    assert not guard.admits("x", session, "")


@pytest.mark.parametrize(
    ("origin", "site", "here"),
    [
        (None, None, True),
        ("http://box:8080", "same-origin", True),
        ("https://box:8080", None, True),
        ("http://box:8081", None, False),
        ("http://evil.com", "cross-site", False),
        (None, "cross-site", False),
        (None, "same-site", False),
        ("null", None, False),
        ("http://[x", None, False),
        (None, "none", True),
    ],
)
def test_only_our_own_page_may_ask(origin: str | None, site: str | None, here: bool) -> None:
    assert is_from_here("box:8080", origin, site) is here


def test_a_rate_allows_a_burst_and_then_so_many_a_second_to_each() -> None:
    rate = Rate(burst=3, per_second=1, of_all=2)
    assert [rate.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [rate.allows("b", 0.0) for _ in range(4)] == [True, True, True, False]
    assert not rate.allows("c", 0.0), "all together may do twice what one may"
    assert [rate.allows("a", 1.0), rate.allows("a", 1.0)] == [True, False]


def test_a_rate_remembers_a_bounded_number_of_addresses() -> None:
    rate = Rate(burst=3, per_second=1, of_all=10**6)
    for number in range(3 * MOST_ADDRESSES):
        assert rate.allows(str(number), 0.0)
    assert len(rate._buckets) == MOST_ADDRESSES
