"""AWS KMS by boto3: against a fake of its wire on loopback, and against moto's model of the service."""

import base64
import os

import boto3
import pytest
from moto import mock_aws

from agenthifive.vault.kms.aws_kms import AwsKms
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable
from vault.kms.services import AWS_KEY
from vault.kms.stage import Stage

CONTEXT = {"app": "agenthifive"}


def service(stage: Stage, **more: str) -> AwsKms:
    return AwsKms(AWS_KEY, "eu-central-1", more or CONTEXT, f"http://127.0.0.1:{stage.fake.port}")


def test_a_key_comes_back_from_its_wrapped_form(aws: Stage) -> None:
    key, kms = os.urandom(32), service(aws)
    assert kms.unwrap(kms.wrap(key)) == key
    made = kms.generate()
    assert kms.unwrap(made.blob) == made.material
    fresh = kms.rewrap(made.blob)
    assert fresh != made.blob
    assert kms.unwrap(fresh) == made.material
    assert aws.fake.operations == [
        "Encrypt", "Decrypt", "GenerateDataKey", "Decrypt", "Decrypt", "Encrypt", "Decrypt",
    ]  # fmt: skip


def test_each_request_names_the_key_and_the_context(aws: Stage) -> None:
    kms = service(aws, app="agenthifive", place="test")
    kms.unwrap(kms.generate().blob)
    assert [(asked.body["KeyId"], asked.body["EncryptionContext"]) for asked in aws.server.asked] == [
        (AWS_KEY, {"app": "agenthifive", "place": "test"})
    ] * 2
    assert {asked.headers["content-type"] for asked in aws.server.asked} == {"application/x-amz-json-1.1"}


def test_another_context_does_not_open(aws: Stage) -> None:
    blob = service(aws).generate().blob
    with pytest.raises(KeyServiceRefused, match="AWS_KMS_ENCRYPTION_CONTEXT"):
        service(aws, app="other").unwrap(blob)


def test_an_endpoint_of_the_environment_does_not_count(aws: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert len(service(aws).generate().material) == 32


@pytest.mark.parametrize(
    ("act", "permission"),
    [("unwrap", "kms:Decrypt"), ("wrap", "kms:Encrypt"), ("generate", "kms:GenerateDataKey")],
)
def test_a_denial_names_the_permission(aws: Stage, act: str, permission: str) -> None:
    kms = service(aws)
    arguments = {"unwrap": [base64.b64encode(bytes(60)).decode()], "wrap": [bytes(32)], "generate": []}[act]
    aws.fake.trouble = "denied"
    with pytest.raises(KeyServiceDenied, match=f"the permission {permission} is missing"):
        getattr(kms, act)(*arguments)


def test_credentials_that_are_not_accepted_are_a_denial(aws: Stage) -> None:
    aws.fake.trouble = "stranger"
    with pytest.raises(KeyServiceDenied, match="does not accept the AWS credentials"):
        service(aws).generate()


def test_no_credentials_are_said_so_without_a_request(
    aws: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(KeyServiceRefused, match="there are no AWS credentials"):
        service(aws).generate()
    assert aws.server.asked == []


def test_one_attempt_is_one_request(aws: Stage) -> None:
    """The client's own retries would hide how long a start waits."""
    aws.fake.trouble = "busy"
    with pytest.raises(KeyServiceUnreachable, match="it answered 500 KMSInternalException"):
        service(aws).generate()
    assert aws.fake.operations == ["GenerateDataKey"]


def test_moto_agrees_with_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second opinion about the service: keys, contexts, disabled and unknown keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        admin = boto3.client("kms", region_name="eu-central-1")
        key_id = admin.create_key()["KeyMetadata"]["KeyId"]
        kms, key = AwsKms(key_id, "eu-central-1", CONTEXT), os.urandom(32)
        assert kms.unwrap(kms.wrap(key)) == key
        made = kms.generate()
        assert kms.unwrap(made.blob) == made.material
        assert kms.unwrap(kms.rewrap(made.blob)) == made.material
        with pytest.raises(KeyServiceRefused, match="AWS_KMS_ENCRYPTION_CONTEXT"):
            AwsKms(key_id, "eu-central-1", {"app": "other"}).unwrap(made.blob)
        with pytest.raises(KeyServiceRefused, match="no such key"):
            AwsKms("1234abcd-12ab-34cd-56ef-1234567890ab", "eu-central-1", CONTEXT).wrap(key)
