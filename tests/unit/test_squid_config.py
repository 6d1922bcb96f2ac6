"""squid.conf from frame and whitelist: the section can be read back, and a digest identifies a configuration."""

from __future__ import annotations

from atelier.egress.squid_config import Configuration

FRAME = """http_port 172.30.0.1:3128
deny_info 307:http://configuration.invalid/@digest@ question
@whitelist@
http_access deny all
"""


def test_a_configuration_of_frame_and_list() -> None:
    made = Configuration.composed(FRAME, (".a.org", ".b.org"))
    assert made.entries == (".a.org", ".b.org")
    assert made.section in made.text
    assert made.address == ("172.30.0.1", 3128)
    assert "@" not in made.text
    assert made == Configuration.composed(FRAME, (".a.org", ".b.org"))


def test_the_section_is_found_and_read_back() -> None:
    made = Configuration.composed("http_port 1\n@whitelist@\nhttp_access deny all\n", (".a.org", ".b.org"))
    assert made.section.splitlines()[0].startswith("# Whitelist ACLs")
    assert made.text == f"http_port 1\n{made.section}http_access deny all\n"
    assert Configuration(made.text).entries == (".a.org", ".b.org")


def test_the_digest_tells_every_change() -> None:
    digests = {
        Configuration.composed(FRAME, (".a.org",)).digest,
        Configuration.composed(FRAME, (".b.org",)).digest,
        Configuration.composed(FRAME.replace("3128", "3129"), (".a.org",)).digest,
    }
    assert len(digests) == 3
    assert None not in digests


def test_a_file_of_somebody_else() -> None:
    foreign = Configuration("http_port 3128\n")
    assert (foreign.entries, foreign.section, foreign.digest, foreign.address) == ((), "", None, None)
    assert not foreign.is_running()


def test_where_nothing_listens_nothing_runs() -> None:
    assert not Configuration.composed(FRAME.replace("172.30.0.1:3128", "127.0.0.1:1"), ()).is_running()
