"""AWS's limits, kept by a large package: all access settings, and ten views more than the shipped model.

The sources of the limits are CloudFormation's, Lambda's, and IAM's quotas.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import CODE, PROJECT, TEMPLATE
from tests.projects import copy_project
from tests.sam import of_type, translated

VIEW = """

@view("AnotherViewTable{0}", key=("product", "day"), amounts=("total",), top="total", keep=Keep(90, "day"))
def another_view_{0}(order: Order) -> Row:
    return Row((order.product, order.placed_at[:10]), {{"total": order.quantity}})
"""
ACCESS = {"READ_ACCESS": "key", "WRITE_ACCESS": "iam", "CORS_ORIGIN": "https://orders.example.com"}
ARN = "arn:aws:dynamodb:ap-southeast-2:123456789012:table/AnotherViewTable0-production"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    project = copy_project(folder / "project", ACCESS)
    model = project / "chalicelib" / "model.py"
    text = model.read_text(encoding="utf-8").replace("import Row, view", "import Keep, Row, view")
    model.write_text(text + "".join(map(VIEW.format, range(10))), encoding="utf-8")
    # In a new process, because this one has already imported the shipped views.
    code = "import sys; from pathlib import Path; from infrastructure.package import package;"
    code += "package('prod', Path(sys.argv[1]), project=Path(sys.argv[2]))"
    command = [sys.executable, "-P", "-c", code, str(folder / "build"), str(project)]
    subprocess.run(command, check=True, env={"PYTHONPATH": f"{project}:{PROJECT}", "PATH": "/usr/bin:/bin"})
    return folder / "build"


@pytest.fixture(scope="module")
def deployed(build: Path) -> dict[str, Any]:
    return translated(build / TEMPLATE)


def test_template_fits_into_a_stack(build: Path, deployed: dict[str, Any]):
    assert len(of_type(deployed, "AWS::DynamoDB::Table")) == 15
    assert (build / TEMPLATE).stat().st_size < 1_000_000
    assert len(json.dumps(deployed)) < 1_000_000
    assert len(deployed["Resources"]) <= 500
    assert len(deployed["Parameters"]) <= 200
    assert len(deployed["Outputs"]) <= 200


def test_each_roles_policies_fit(deployed: dict[str, Any]):
    def filled_in(value: Any) -> Any:
        if isinstance(value, dict):
            reference = value.keys() & {"Fn::GetAtt", "Fn::Sub", "Ref"}
            return ARN if reference else {name: filled_in(each) for name, each in value.items()}
        return [filled_in(each) for each in value] if isinstance(value, list) else value

    roles = of_type(deployed, "AWS::IAM::Role")
    sizes = {
        name: sum(
            len(json.dumps(filled_in(each["PolicyDocument"]), separators=(",", ":"))) for each in role["Policies"]
        )
        for name, role in roles.items()
    }
    assert len(sizes) == 6
    assert max(sizes.values()) <= 10_240, sizes


def test_functions_fit(build: Path, deployed: dict[str, Any]):
    for function in of_type(deployed, "AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        assert sum(len(name) + len(str(value)) for name, value in variables.items()) <= 4_096
    with zipfile.ZipFile(build / CODE) as code:
        assert sum(file.file_size for file in code.infolist()) < 250_000_000
    assert (build / CODE).stat().st_size < 50_000_000
