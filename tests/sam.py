"""Translate a SAM template to the CloudFormation template that is deployed, with the library that AWS SAM uses."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from samtranslator.translator.transform import transform

from infrastructure.package import read_template


def translated(template_file: Path) -> dict[str, Any]:
    """Return a packaged template with its SAM resources replaced by CloudFormation resources."""
    template = read_template(template_file)
    for each in template["Resources"].values():
        if each["Type"] == "AWS::Serverless::Function":
            each["Properties"]["CodeUri"] = "s3://bucket/key"  # `aws cloudformation package` does this.
    with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
        result: dict[str, Any] = transform(template, {}, SimpleNamespace(load=dict))
    return result


def of_type(template: dict[str, Any], resource_type: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by logical name."""
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == resource_type}
