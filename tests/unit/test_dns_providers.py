"""Credentials of lego's DNS providers, and the providers that cannot be used."""

from __future__ import annotations

import re

import pytest
from atelier.common.errors import AtelierError
from atelier.gateway.dns_providers import check_provider, credentials

CANARY = "canary-of-the-provider"


@pytest.mark.parametrize(
    ("provider", "names", "field", "words"),
    [
        ("manual", [], "atelier_tls_acme.provider", "'manual' runs a program or asks a person"),
        ("exec", ["EXEC_PATH"], "atelier_tls_acme.provider", "Use another, such as httpreq"),
        ("cloudflare", ["CLOUDFLARE_DNS_API_TOKEN"], "atelier_tls_acme.provider", "no DNS provider 'cloudflare'"),
        ("gcloud", ["GCE_SERVICE_ACCOUNT_FILE"], "atelier_tls_acme_variables", "such as GCE_SERVICE_ACCOUNT"),
        ("route53", ["AWS_SHARED_CREDENTIALS_FILE"], "atelier_tls_acme_variables", "AWS_SHARED_CREDENTIALS_FILE"),
        ("route53", ["AWS_PROFILE"], "atelier_tls_acme_variables", "AWS_PROFILE refers to a file or a profile"),
        ("lightsail", ["AWS_SECRET_ACCESS_KEY"], "atelier_tls_acme_variables", "more variables: AWS_ACCESS_KEY_ID."),
        ("route53", ["AWS_SESSION_TOKEN"], "atelier_tls_acme_variables", "AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY"),
        ("rfc2136", ["../passwd"], "atelier_tls_acme_variables", "'../passwd'"),
    ],
)
def test_what_cannot_work_is_refused(provider: str, names: list[str], field: str, words: str) -> None:
    with pytest.raises(AtelierError, match=re.escape(words)) as refused:
        check_provider(provider, names)
    assert refused.value.details["field"] == field
    assert refused.value.message.remedy


@pytest.mark.parametrize(
    ("provider", "names"),
    [("route53", []), ("lightsail", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DNS_ZONE"]), ("rfc2136", [])],
)
def test_others_are_lego_s_own_matter(provider: str, names: list[str]) -> None:
    check_provider(provider, names)


def test_lego_reads_a_file_for_each_variable() -> None:
    given = credentials({"RFC2136_TSIG_SECRET": CANARY, "RFC2136_TTL": 60}, "/variables")
    assert given.files == {"RFC2136_TSIG_SECRET": CANARY, "RFC2136_TTL": "60"}
    assert given.environment == {
        "RFC2136_TSIG_SECRET_FILE": "/variables/RFC2136_TSIG_SECRET",
        "RFC2136_TTL_FILE": "/variables/RFC2136_TTL",
    }


def test_aws_reads_one_file_of_its_own_form() -> None:
    variables = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_HOSTED_ZONE_ID": "Z1"}
    given = credentials(variables, "/variables")
    assert given.files == {
        "AWS_HOSTED_ZONE_ID": "Z1",
        "aws-credentials": f"[default]\naws_access_key_id = AKIA\naws_secret_access_key = {CANARY}\n",
    }
    assert given.environment == {
        "AWS_HOSTED_ZONE_ID_FILE": "/variables/AWS_HOSTED_ZONE_ID",
        "AWS_SHARED_CREDENTIALS_FILE": "/variables/aws-credentials",
    }
    elsewhere = credentials({"AWS_REGION": "cn-north-1"}, "/variables")
    assert (elsewhere.files, elsewhere.environment) == ({}, {"AWS_REGION": "cn-north-1"})


def test_a_path_s_variable_names_the_file_with_its_content() -> None:
    given = credentials({"HYPERONE_PASSPORT_LOCATION": '{"key": 1}'}, "/variables")
    assert given.files == {"HYPERONE_PASSPORT_LOCATION": '{"key": 1}'}
    assert given.environment == {"HYPERONE_PASSPORT_LOCATION": "/variables/HYPERONE_PASSPORT_LOCATION"}


def test_a_document_may_be_written_as_yaml() -> None:
    given = credentials({"GCE_SERVICE_ACCOUNT": {"project_id": "p"}}, "/variables")
    assert given.files == {"GCE_SERVICE_ACCOUNT": '{"project_id": "p"}'}


def test_a_mode_is_no_secret() -> None:
    given = credentials({"JOKER_API_MODE": "SVC", "JOKER_PASSWORD": CANARY}, "/variables")
    assert given.environment["JOKER_API_MODE"] == "SVC"
    assert CANARY not in str(given.environment)
