"""The SAM template: valid to cfn-lint, least in its rights, and the packed functions run without any package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.settings import ModelSettings, StoreSettings, StreamSettings
from tests.fakes import random_customers, records
from tests.serverless.events import rest_api

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "serverless" / "template.yaml"
ANYWHERE = {
    "xray:PutTraceSegments", "xray:PutTelemetryRecords",
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface",
}  # fmt: skip
"""Actions that AWS knows no resource for."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags: a tagged value reads as {tag: value}."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: node.value}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _tagged)
RESOURCES: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), _Loader)["Resources"]  # noqa: S506  a safe loader


def of_type(kind: str) -> dict[str, Any]:
    return {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == kind}


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for one in role["Policies"][0]["PolicyDocument"]["Statement"]:
        found.append(one["If"][1] if "If" in one else one)
    return found


def actions(statement: dict[str, Any]) -> set[str]:
    said = statement["Action"]
    return {said} if isinstance(said, str) else set(said)


@pytest.mark.integration
def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--include-checks", "I", "--", str(TEMPLATE)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_no_role_may_do_more_than_it_has_to() -> None:
    roles = of_type("AWS::IAM::Role")

    assert set(roles) == {"GatewayRole", "EndpointRole", "StreamRole", "ShipRole"}
    for name, role in roles.items():
        assert "ManagedPolicyArns" not in role, name
        for statement in statements(role):
            assert not any("*" in action for action in actions(statement)), name
            assert statement["Resource"] != "*" or actions(statement) <= ANYWHERE, name


def test_every_function_has_its_own_role_its_own_log_with_an_end_and_a_limit_in_time() -> None:
    functions, logs = of_type("AWS::Serverless::Function"), of_type("AWS::Logs::LogGroup")

    for name, function in functions.items():
        assert function["Role"]["GetAtt"] == f"{name.removesuffix('Function')}Role.Arn"
        assert function["LoggingConfig"]["LogGroup"]["Ref"] in logs
        assert function["Timeout"] <= 60
    assert all("RetentionInDays" in log for log in logs.values())


def test_streams_are_read_so_that_nothing_is_lost() -> None:
    mappings = [
        event["Properties"]
        for function in of_type("AWS::Serverless::Function").values()
        for event in function["Events"].values()
        if event["Type"] == "Kinesis"
    ]

    assert len(mappings) == 2
    for mapping in mappings:
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "GivenUpQueue.Arn"}
        assert mapping["MaximumRetryAttempts"] == -1
    kept = {name: stream["RetentionPeriodHours"] for name, stream in of_type("AWS::Kinesis::Stream").items()}
    assert kept["AnswersStream"] * 3600 == kept["PredictionsStream"] * 3600 == mappings[0]["MaximumRecordAgeInSeconds"]


def test_callers_need_a_key_and_are_slowed_down() -> None:
    api, plan = of_type("AWS::Serverless::Api")["Api"], of_type("AWS::ApiGateway::UsagePlan")["UsagePlan"]

    assert api["Auth"]["ApiKeyRequired"] is True
    assert {"RateLimit", "BurstLimit"} == set(plan["Throttle"])
    assert plan["Quota"]["Period"] == "DAY"
    assert "ReservedConcurrentExecutions" in of_type("AWS::Serverless::Function")["GatewayFunction"]
    assert not re.search("body|sourceIp", api["AccessLogSetting"]["Format"])


def test_every_variable_that_is_set_is_read() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "serverless").glob("*.py")))
    classes = (ModelSettings, StoreSettings, StreamSettings)
    fields = {name.upper() for one in classes for name in one.model_fields} | {"CHURNWATCH_HOME"}
    for name, function in of_type("AWS::Serverless::Function").items():
        for variable in function["Environment"]["Variables"]:
            assert variable in fields or f'"{variable}"' in code, f"{name}: {variable}"


def test_every_alarm_tells_somebody_what_to_do() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")

    assert len(alarms) == 8
    assert all(alarm["AlarmActions"] and len(alarm["AlarmDescription"]) > 40 for alarm in alarms.values())


PACKED = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from serverless import gateway, sagemaker
print(json.dumps([gateway.handle(json.load(sys.stdin)), sorted(name for name in sys.modules if "boto" in name)]))
"""


def test_the_packed_functions_answer_without_any_package(bundle: Bundle, tmp_path: Path) -> None:
    make = ["make", "-s", "-C", str(ROOT), "lambda", f"LAMBDA_DIR={tmp_path / 'lambda'}"]
    subprocess.run(make, check=True, capture_output=True)
    (tmp_path / "model.json").write_bytes(make_artifact(bundle))
    variables = {"ARTIFACT": str(tmp_path / "model.json"), "ANSWERS_STREAM": "none", "PSEUDONYM_KEY": "k" * 64}
    event = rest_api(json.dumps(records(random_customers(bundle.contract, 1), bundle.contract)[0]))

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PACKED, str(tmp_path / "lambda")],
        input=json.dumps(event),
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    answer, loaded = json.loads(done.stdout.splitlines()[-1])
    assert answer["statusCode"] == 200
    assert loaded == []


def test_what_the_image_of_functions_copies_is_sent_to_the_engine() -> None:
    sent = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n"))
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY ([\w-]+) [\w-]+$", dockerfile, flags=re.MULTILINE))

    assert "serverless" in copied
    assert {f"!{folder}" for folder in copied} <= sent
