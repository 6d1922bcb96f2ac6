"""Valid and invalid repository addresses; no message contains a possible password."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from atelier.common.errors import AtelierError, Code
from atelier.git import urls
from atelier.git.urls import check_git_access, check_git_url
from atelier_recorder.proxy.address_filter import AddressFilter
from support import refused

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/team/course.git",
        "http://git.example.org:3000/course",
        "HTTPS://Git.Example.org/a/b.git",
        "http://192.168.1.20/course.git",
        "http://git.internal:8081/git/atelier/base.git",
        "https://[2001:db8::7]/course.git",
        "https://xn--bcher-kva.example/a%20b.git",
        "https://dev.example.org/~ann/course.git/",
    ],
)
def test_addresses_of_repositories_elsewhere(url: str) -> None:
    assert check_git_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        # other schemes, and none
        *("", "x", "/srv/course.git", "file:///etc/passwd", "ssh://git.example.org/a", "git.example.org:a/b"),
        *("ext::sh -c id", "ext::sh%20-c%20id", "fd::17", "http:git.example.org/a", "http:///a", "https:/a/b"),
        # options
        *("-uhttp://x/a", "--upload-pack=id", "http://-x.example.org/a", "http://git.example.org/-a/b"),
        *("http://git.example.org/a/--upload-pack=id", "http://x-/a"),
        # more than an address
        *("http://git.example.org/a b", "http://git.example.org/a\n", "http://git.example.org/\x00", "http://x\\y/a"),
        *("http://git.example.org/a?b=c", "http://git.example.org/a#b", "http://git.example.org", "http://x.org/"),
        *("http://git.example.org:port/a", "http://git.example.org:99999/a", "http://exa%6dple.org/a", "http://[x]/a"),
        "http://git.example.org/" + 2048 * "a",
        # this machine, by all its names
        *("http://localhost/a", "http://LOCALHOST./a", "http://x.localhost/a", "http://localhost.localdomain/a"),
        *("http://127.0.0.1/a", "http://127.1/a", "http://2130706433/a", "http://0x7f000001/a", "http://0177.0.0.1/a"),
        *(
            "http://127.0.0.1./a",
            "http://0.0.0.0/a",
            "http://0/a",
            "http://[::1]/a",
            "http://[::]/a",
            "http://\u24dbocalhost/a",
        ),
        *(
            "http://[::ffff:127.0.0.1]/a",
            "http://[::127.0.0.1]/a",
            "http://[2002:7f00:1::]/a",
            "http://\uff11\uff12\uff17.0.0.1/a",
        ),
        # what only this machine may ask
        *("http://169.254.169.254/a", "http://169.254.1.1/a", "http://2852039166/a", "http://[fe80::1]/a"),
        *("http://[fe80::1%25eth0]/a", "http://[64:ff9b::169.254.169.254]/a", "http://metadata.google.internal/a"),
        *("http://100.100.100.200/a", "http://168.63.129.16/a", "http://[fd00:ec2::254]/a", "http://224.0.0.1/a"),
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_git_url(url, "gitUrl")
    refused(error, Code.VALIDATION_ERROR, "gitUrl")


@pytest.mark.parametrize(
    "url",
    ["https://ann:hush-hush@x.org/a", "https://hush-hush@x.org/a", "ssh://ann:hush-hush@x.org/a", "hush-hush@x:a"],
)
def test_an_address_with_a_password_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_git_url(url)
    assert "hush-hush" not in refused(error, Code.VALIDATION_ERROR, "git_url") + str(error.value.details)


def test_what_opens_a_repository() -> None:
    assert check_git_access(None, None) is check_git_access("", "") is None
    access = check_git_access(None, "hush-hush")
    assert access is not None
    assert (access.user, access.token) == ("git", "hush-hush")
    assert "hush-hush" not in repr(access)
    named = check_git_access("ann", "hush-hush")
    assert named is not None
    assert named.user == "ann"


@pytest.mark.parametrize(
    ("user", "token", "field"),
    [
        ("ann", None, "git_token"),
        ("ann", "hush\n-hush", "git_token"),
        ("ann\0", "hush-hush", "git_username"),
        ("ann", 4097 * "hush-hush", "git_token"),
    ],
)
def test_half_of_what_opens_it(user: str | None, token: str | None, field: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_git_access(user, token)
    assert "hush" not in refused(error, Code.VALIDATION_ERROR, field)


def test_every_guard_knows_the_same_metadata_addresses() -> None:
    """The firewall, Squid, the recorder and the check of git addresses each have a separate list."""
    network = yaml.safe_load((ROOT / "roles/network/defaults/main.yml").read_text())
    known = {*network["atelier_network_metadata_ipv4"], *network["atelier_network_metadata_ipv6"]}
    assert {str(address) for address in urls._METADATA} == known
    squid = yaml.safe_load((ROOT / "roles/squid/vars/main.yml").read_text())
    assert known - set(squid["atelier_squid_special"]) == set()
    recorder = AddressFilter("172.30.0.0/16", [], [])
    assert not [address for address in known if recorder.destination_allowed(address)]
