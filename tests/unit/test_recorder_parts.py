"""The recorder's other parts: redaction, bodies, allowed clients and destinations, counts, files and their limits."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from pathlib import Path

import pytest
from atelier_recorder.body_buffer import Budget, Tee, decode
from atelier_recorder.messages import DomainSeen, Exchanged
from atelier_recorder.proxy.address_filter import AddressFilter, is_literal
from atelier_recorder.proxy.pipe import Pipe
from atelier_recorder.proxy.providers import find_provider, parse_providers
from atelier_recorder.redact import MARK, redact, redact_json_text, redact_text, redact_url, secrets_of
from atelier_recorder.settings import Limits, read_settings
from atelier_recorder.timestamps import file_name, iso
from atelier_recorder.workspaces import Workspaces
from atelier_recorder.writer.domains import Domains
from atelier_recorder.writer.process import Writer
from atelier_recorder.writer.store import Store, fit
from test_recorder_formats import CHAT, exchanged

from bench.egress_recorder import settings_document
from tests.waiting import eventually

ID = "0123456789ab"
ADDRESS = "10.0.0.2"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefgh12345678",
        "sk-ant-api03-abcd_efgh-1234",
        "AIzaSyA1234567890abcdefghij",
        "ghp_abcdefghijklmnop1234",
        "github_pat_abcdefghijklmnop1234",
        "glpat-abcdefghijklmnop1234",
        "xoxb-12345678-abcd",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    assert redact_text(f"my key is {secret}, keep it") == f"my key is {MARK}, keep it"


def test_plain_words_stay() -> None:
    text = "ask-me-anything, a task-force, the sk- prefix, https://example.org/a?b=c, token counts and passwords"
    assert redact_text(text) == text


def test_what_the_headers_carry_is_taken_out_wherever_it_stands() -> None:
    secrets = secrets_of(
        [("Authorization", "Bearer notakeylook"), ("Cookie", "sid=cookievalue; a=b"), ("Accept", "text/html")]
    )
    body = {"messages": [{"content": "use notakeylook and cookievalue, text/html"}], "notakeylook": 1}
    text = json.dumps(redact(body, secrets))
    assert "notakeylook" not in text
    assert "cookievalue" not in text
    assert "text/html" in text


def test_values_are_taken_out_by_their_names() -> None:
    assert redact({"api_key": "x1", "db.password": "x2", "max_tokens": 5, "token_count": "7"}) == {
        "api_key": MARK,
        "db.password": MARK,
        "max_tokens": 5,
        "token_count": "7",
    }
    assert redact_json_text('{"path": "a", "password": "p\\"w", "n": 1, "secret": "cut o') == (
        f'{{"path": "a", "password": "{MARK}", "n": 1, "secret": "{MARK}'
    )


def test_an_address_keeps_what_is_no_secret() -> None:
    assert redact_url("https://u:p@host.example/v1/m:gen?key=abc&alt=sse&x-api-key=1#f") == (
        f"https://host.example/v1/m:gen?key={MARK}&alt=sse&x-api-key={MARK}"
    )


def test_bodies_are_decoded_as_far_as_they_go() -> None:
    data = b"hello " * 1000
    assert decode(data, "", 1 << 20) == (data, True)
    assert decode(gzip.compress(data), "gzip", 1 << 20) == (data, True)
    assert decode(gzip.compress(data) + gzip.compress(b"more"), "gzip", 1 << 20) == (data + b"more", True)
    assert decode(zlib.compress(data), "deflate", 1 << 20) == (data, True)
    assert decode(zlib.compress(data, wbits=-15), "deflate", 1 << 20) == (data, True)
    start, whole = decode(gzip.compress(bytes(range(256)) * 100)[:-20], "gzip", 1 << 20)
    assert start
    assert not whole
    assert decode(b"nonsense", "gzip", 100)[1] is False
    assert decode(b"nonsense", "unheard-of", 100) == (b"", False)


def test_a_small_body_that_is_a_huge_one_is_cut() -> None:
    bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
    data, whole = decode(bomb, "gzip, gzip", 100_000)
    assert len(data) == 100_000
    assert not whole


@pytest.mark.parametrize("module", ["brotli", "backports.zstd"])
def test_other_codings(module: str) -> None:
    library = pytest.importorskip(module)
    name = "br" if module == "brotli" else "zstd"
    data = b"hello " * 100_000
    assert decode(library.compress(data), name, 1 << 20) == (data, True)
    assert decode(library.compress(data), name, 1000) == (data[:1000], False)
    assert decode(library.compress(data)[:-5], name, 1 << 20)[1] is False
    assert decode(b"nonsense", name, 1000) == (b"", False)


def test_memory_for_bodies_is_shared_and_given_back() -> None:
    budget = Budget(10)
    first, second = Tee(8, budget), Tee(8, budget)
    first.add(b"12345678")
    second.add(b"123")
    assert second.truncated
    first.add(b"9")
    assert (first.content(), first.truncated) == (b"12345678", True)
    first.release()
    third = Tee(8, budget)
    third.add(b"12345678")
    assert not third.truncated


def test_the_rest_of_a_request_that_was_answered_early_takes_no_memory() -> None:
    budget = Budget(8)
    request = Tee(8, budget, "seat")
    request.add(b"12")
    request.release()
    assert request.add(b"34") == b"34"  # nobody gives this back any more
    assert budget.take(2, "seat") and budget.take(6)


FILTER = AddressFilter("172.29.0.0/16", ["172.28.0.0/16"], ["10.1.0.0/16", "172.28.0.0/16"])


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.29.0.1", "169.254.169.254", "100.64.0.1"),  # noqa: S104
        *("100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1", "172.28.0.5"),
        *("::1", "::", "fe80::1%eth0", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1"),
        *("2002:a00:1::", "ff02::1", "fc00::1", "", "name.example", "1.2.3"),
    ],
)
def test_where_nobody_is_led(address: str) -> None:
    assert not FILTER.destination_allowed(address)


@pytest.mark.parametrize("address", ["9.9.9.9", "10.1.2.3", "2620:fe::fe", "::ffff:9.9.9.9"])
def test_where_seats_may_go(address: str) -> None:
    assert FILTER.destination_allowed(address)


def test_clients_are_those_of_one_network() -> None:
    assert FILTER.client_allowed("172.29.3.4")
    assert FILTER.client_allowed("::ffff:172.29.3.4")
    assert not FILTER.client_allowed("172.28.0.5")
    assert not FILTER.client_allowed("127.0.0.1")
    assert is_literal("[::1]")
    assert not is_literal("example.org")


def test_providers_by_host_and_path() -> None:
    providers = parse_providers(
        [
            {"api": "anthropic-messages", "host": "api.anthropic.com", "path": "/v1/messages"},
            {"api": "google-generate", "host": "*.googleapis.com", "path": "*:streamGenerateContent"},
            {"api": "openai-chat", "path": "*/chat/completions"},
        ]
    )

    def api(host: str, path: str) -> str | None:
        found = find_provider(providers, host, path)
        return found.api if found else None

    assert api("API.Anthropic.com.", "/v1/messages?beta=true") == "anthropic-messages"
    assert api("api.anthropic.com", "/v1/messages/count_tokens") is None
    assert api("x.googleapis.com", "/v1/models/m:streamGenerateContent?alt=sse") == "google-generate"
    assert api("gateway.school.example", "/llm/v1/chat/completions/") == "openai-chat"
    assert api("api.openai.com", "/v1/embeddings") is None
    with pytest.raises(ValueError, match="telepathy"):
        parse_providers([{"api": "telepathy", "path": "*"}])


def write_table(path: Path, **ids: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({address: {"id": found, "group": None} for address, found in ids.items()}))
    new.replace(path)


def test_the_table_of_workspaces_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "workspaces.json"
    workspaces = Workspaces(path)
    assert workspaces.id_of(ADDRESS) is None
    write_table(path, **{ADDRESS: ID})
    assert workspaces.id_of(ADDRESS) == ID
    path.write_text("{half")
    assert workspaces.id_of(ADDRESS) == ID
    write_table(path, **{ADDRESS: "../../../etc"})
    assert workspaces.id_of(ADDRESS) is None
    path.unlink()
    assert workspaces.id_of(ADDRESS) is None


def read_domains(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / ID / "domains.json").read_text())
    return found


def test_domains_are_counted_also_over_restarts_and_full_disks(tmp_path: Path) -> None:
    domains = Domains(tmp_path)
    domains.count(ID, "A.example.", 1000)
    domains.count(ID, "a.example", 3000)
    domains.count(ID, "../etc/passwd", 1)
    domains.count("ffffffffffff", "gone.example", 1)
    errors: list[OSError] = []
    (tmp_path / ID).write_text("in the way")
    domains.flush({ID}, errors.append)
    assert len(errors) == 1
    (tmp_path / ID).unlink()
    domains.flush({ID}, errors.append)
    assert read_domains(tmp_path) == {"a.example": {"count": 2, "first_seen": iso(1000), "last_seen": iso(3000)}}
    again = Domains(tmp_path)
    again.count(ID, "a.example", 5000)
    again.flush({ID}, errors.append)
    assert read_domains(tmp_path)["a.example"] == {"count": 3, "first_seen": iso(1000), "last_seen": iso(5000)}
    assert not (tmp_path / "ffffffffffff").exists()
    (tmp_path / ID / "domains.json").write_text("{broken")
    third = Domains(tmp_path)
    third.count(ID, "b.example", 1)
    third.flush({ID}, errors.append)
    assert set(read_domains(tmp_path)) == {"b.example"}


def document(timestamp: str, text: str = "x") -> dict[str, object]:
    return {"timestamp": timestamp, "parsed_request": {"messages": [{"content": text}]}, "parsed_response": None}


def test_timestamps_are_unique(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits())
    first, second = store.allocate(ID, 5000), store.allocate(ID, 5000)
    assert (first, second) == (iso(5000), iso(5001))
    store.write(ID, document(first), final=True)
    assert Store(tmp_path, Limits()).allocate(ID, 5000) == iso(5001)
    assert file_name(first) == "1970-01-01T00-00-05.000Z.json"


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ID / "conversations").iterdir())


def test_the_oldest_conversations_go_first(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    store = Store(tmp_path, Limits(max_conversations=10))
    for number in range(25):
        store.write(ID, document(iso(now + number)), final=True)
        assert len(kept(tmp_path)) <= 11
    assert kept(tmp_path)[-1] == file_name(iso(now + 24))
    small = Store(tmp_path, Limits(max_workspace_bytes=1000))
    small.write(ID, document(iso(now + 30), "y" * 500), final=True)
    assert sum(path.stat().st_size for path in (tmp_path / ID / "conversations").iterdir()) <= 1000
    assert kept(tmp_path)[-1] == file_name(iso(now + 30))


def test_old_conversations_and_half_written_files_go(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    store = Store(tmp_path, Limits(retention_days=2))
    store.write(ID, document(iso(now - 3 * 24 * 3600 * 1000)), final=True)
    store.write(ID, document(iso(now)), final=True)
    (tmp_path / ID / "conversations" / ".new-left.json").write_text("{")
    store.sweep()
    assert kept(tmp_path) == [file_name(iso(now))]


def test_a_conversation_fits_its_limit() -> None:
    long = document(iso(0), "\x01" * 100_000)
    data = fit(long, 10_000)
    assert len(data) <= 10_000
    assert json.loads(data)["truncated"] is True
    many = document(iso(0)) | {"parsed_response": {"tool_calls": [{"name": "x"}] * 10_000}}
    assert json.loads(fit(many, 10_000))["parsed_response"] is None


def call(*, response: bytes = CHAT.encode(), **more: object) -> Exchanged:
    request = json.dumps({"model": "asked", "messages": [{"role": "user", "content": "hi"}]}).encode()
    return exchanged("openai-chat", request, response, address=ADDRESS, **more)


def test_a_call_is_one_file_from_its_first_flush_to_its_end(writer: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    writer.take(call(final=False, ended=False, response=CHAT.encode()[:600], number=7))
    (name,) = kept(folder)
    assert json.loads((folder / ID / "conversations" / name).read_text())["incomplete"] is True
    writer.take(call(number=7))
    assert kept(folder) == [name]
    assert json.loads((folder / ID / "conversations" / name).read_text())["parsed_response"]["content"] == "Hello"
    writer.take(call(number=8))
    assert len(kept(folder)) == 2


def test_what_nobody_owns_is_not_recorded(writer: Writer, tmp_path: Path) -> None:
    writer.take(DomainSeen("10.0.0.9", "a.example", 1))
    writer.take(exchanged("openai-chat", b'{"messages": []}', b"", address="10.0.0.9"))
    writer.tick(1)
    assert list((tmp_path / "recordings").iterdir()) == []


def test_trouble_is_said_once_and_forgotten(writer: Writer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recordings" / ID).write_text("in the way")
    writer.take(DomainSeen(ADDRESS, "a.example", 1))
    for _ in range(3):
        writer.take(call())
        writer.tick(1)
    (tmp_path / "recordings" / ID).unlink()
    writer.take(call())
    writer.tick(1)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert "traffic goes on" in said[0]
    assert "again" in said[1]
    assert read_domains(tmp_path / "recordings")["a.example"]["count"] == 1


def test_what_is_sent_is_written_also_after_the_writer_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "roles/recorder/files")
    monkeypatch.chdir(Path(__file__).parents[2])
    written = settings_document(tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps(written))
    recordings, table = Path(written["recordings_dir"]), Path(written["workspaces_file"])
    for folder in (recordings, table.parent):
        folder.mkdir()
    write_table(table, **{ADDRESS: ID})
    pipe = Pipe(tmp_path / "settings.json", Budget(10**8), list)
    pipe.start()
    pipe.send(DomainSeen(ADDRESS, "a.example", 1))
    eventually(lambda: (recordings / ID / "domains.json").exists(), "the first count is written")
    assert pipe._writer is not None
    pipe._writer[0].kill()
    pipe._writer[0].wait()
    pipe.send(DomainSeen(ADDRESS, "b.example", 2))
    for _ in range(3):
        pipe.send(call(response=bytes(4 * 1024**2)))
    pipe.stop()
    assert set(read_domains(recordings)) == {"a.example", "b.example"}
    assert len(kept(recordings)) == 3


def test_the_benchmark_s_recorder_reads_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings_document(tmp_path)))
    assert read_settings(path).recordings_dir == tmp_path / "recordings"
