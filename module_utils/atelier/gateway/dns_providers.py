"""lego's DNS providers: how each takes its credentials without a secret in an environment.

lego reads a variable ``NAME`` also from the file that ``NAME_FILE`` names. The exceptions below are from the sources of
lego 4.9.1, as Debian 13 builds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..common.errors import invalid

# The settings, in errors.
PROVIDER, VARIABLES = "atelier_tls_acme.provider", "atelier_tls_acme_variables"
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# They need a program or a terminal; lego's container has neither.
_PROGRAMS = frozenset(("exec", "manual"))
# lego documents them; Debian builds it without them, because libraries of theirs are no packages.
# fmt: off
_NOT_BUILT = frozenset((
    "acme-dns", "alidns", "auroradns", "azure", "bindman", "civo", "cloudflare", "designate", "dnsimple",
    "dnspod", "edgedns", "exoscale", "freemyip", "ibmcloud", "iij", "iijdpf", "infoblox", "linode", "liquidweb",
    "namedotcom", "namesilo", "ns1", "oraclecloud", "porkbun", "sakuracloud", "scaleway", "tencentcloud",
    "transip", "vegadns", "vinyldns", "vkcloud", "yandexcloud",
))
# fmt: on
# The library of route53 and lightsail reads its credentials itself, but also from a file.
AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_OF_AWS = (*AWS_KEYS, "AWS_SESSION_TOKEN")
_AWS_FILE = "aws-credentials"
# Only read from the environment; not secret.
_PLAIN = frozenset(("AWS_REGION", "JOKER_API_MODE"))
# The provider reads the file that is named by the variable itself.
_PATHS = frozenset(("HYPERONE_PASSPORT_LOCATION",))
# They refer to files that lego's container does not have.
_ELSEWHERE = frozenset(("AWS_PROFILE", "AWS_SDK_LOAD_CONFIG"))


@dataclass(frozen=True)
class ProviderCredentials:
    """``files``: the content of each file by its name. ``environment``: no secrets; the files by their paths."""

    files: Mapping[str, str]
    environment: Mapping[str, str]


def check_provider(provider: str, names: Collection[str]) -> None:
    """Raises VALIDATION_ERROR if lego cannot use the provider, or variables of these names. Which others the provider
    needs is checked by lego, except for those of AWS, which it does not know."""
    if provider in _PROGRAMS:
        raise invalid("acme.provider_program", PROVIDER, provider=provider)
    if provider in _NOT_BUILT:
        raise invalid("acme.provider", PROVIDER, provider=provider)
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise invalid("acme.variable_name", VARIABLES, name=name[:40])
        if name.endswith("_FILE") or name in _ELSEWHERE:
            raise invalid("acme.variable_elsewhere", VARIABLES, name=name)
    given = [name for name in _OF_AWS if name in names]
    missing = [name for name in AWS_KEYS if name not in names]
    # Without any, a machine of Amazon's may have a role that allows it.
    if given and missing:
        raise invalid("acme.missing", VARIABLES, provider=provider, names=",".join(missing))


def credentials(variables: Mapping[str, Any], folder: str) -> ProviderCredentials:
    """The environment and files that pass the variables to lego; ``folder`` is the files' folder in its container."""
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
    files = {name: value for name, value in values.items() if name not in (*_OF_AWS, *_PLAIN)}
    environment = {name if name in _PATHS else f"{name}_FILE": f"{folder}/{name}" for name in files}
    if of_aws := [f"{name.lower()} = {values[name]}\n" for name in _OF_AWS if name in values]:
        files[_AWS_FILE] = "".join(["[default]\n", *of_aws])
        environment["AWS_SHARED_CREDENTIALS_FILE"] = f"{folder}/{_AWS_FILE}"
    plain = {name: value for name, value in values.items() if name in _PLAIN}
    return ProviderCredentials(files, environment | plain)
