"""A workspace image of a few MB whose "IDE" is a little web server, for tests that are not about the IDE itself.

It is made from parts of the real one: Perl, a shell, and the libraries they need.
"""

from __future__ import annotations

import io
import tarfile

import docker

SMALL = "atelier-test/workspace:small"

_PACK = """
perl=$(readlink -f "$(command -v perl)")
programs="$perl /bin/sh /bin/cat /bin/sleep /usr/bin/head /usr/bin/stat /bin/ln /bin/mkdir /bin/chmod /bin/rm"
libraries=$(ldd $programs | grep -o '/[^ ]*' | grep -v ':$' | sort -u)
modules=$(perl -e 'print join "\\n", grep { m{/perl-base$} } @INC')
tar -chf /tmp/parts.tar $programs $libraries $modules 2>/dev/null
"""

_SERVER = r"""
use IO::Socket::INET;
exit 78 unless -r "/etc/code-server/config.yaml";
$SIG{TERM} = sub { exit 0 };
my $server = IO::Socket::INET->new(LocalPort => 8082, Listen => 50, ReuseAddr => 1) or die $!;
while (1) {
    my $client = $server->accept or next;
    while (<$client>) { last if /^\r?\n$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    close $client;
}
"""


def build_small_image(client: docker.DockerClient, template: str, name: str = SMALL) -> None:
    """Makes the image of that name on the engine that has the template's image."""
    container = client.containers.run(template, ["infinity"], entrypoint=["sleep"], user="root", detach=True)
    try:
        code, output = container.exec_run(["sh", "-c", _PACK])
        assert code == 0, output
        stream, _ = container.get_archive("/tmp/parts.tar")  # noqa: S108 - inside the container
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as outer:
            parts = outer.extractfile("parts.tar")
            assert parts is not None
            data = io.BytesIO(parts.read())
    finally:
        container.remove(force=True)
    _add_own_files(data)
    changes = [
        "USER coder",
        "WORKDIR /workspace",
        "ENV PATH=/usr/local/bin:/usr/bin:/bin",
        'ENTRYPOINT ["perl", "/server.pl"]',
        "LABEL atelier.image=workspace",
    ]
    repository, _, tag = name.rpartition(":")
    client.api.import_image_from_data(data.getvalue(), repository=repository, tag=tag, changes=changes)


def _add_own_files(data: io.BytesIO) -> None:
    data.seek(0)
    with tarfile.open(fileobj=data, mode="a") as archive:
        for path in ("home/coder", "workspace"):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
            archive.addfile(folder)
        files = {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\ncoder:x:1000:1000::/home/coder:/bin/sh\n",
            "etc/group": "root:x:0:\ncoder:x:1000:\n",
            "server.pl": _SERVER,
        }
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
