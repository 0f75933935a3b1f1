"""Add access control to the packaged template: throttling, an API key, IAM policies and error responses.

The app decides which routes need a key or a signature (chalicelib/api/access.py, app.py). This module reads that from
the API definition that Chalice has written. The template never contains a key's value; API Gateway generates it.
"""

import json
from typing import Any

from infrastructure.monitoring import stage_name

API = "RestAPI"
KEY_SCHEME = "api_key"
IAM_SCHEME = "sigv4"
"""Chalice's names for the two schemes in the API definition."""

READ_METHODS = ("GET",)
WRITE_METHODS = ("POST", "PUT", "DELETE")

ROUTE_NOT_FOUND = {
    "Code": "NotFoundError",
    "Message": "There is no route with this method and path. GET /openapi.json lists the routes.",
}

Template = dict[str, Any]

# Limits for all callers of one method together. Without them the only limit is the account's, 10,000 requests per
# second for all of its APIs (API Gateway quotas), so calls to this API could block every other one and run up a bill.
THROTTLES = (
    ("/*", "*", "Api", 500, "each method that has no limit of its own"),
    ("/~1orders", "POST", "Order", 500, "POST /orders"),
    ("/~1totals", "GET", "List", 100, "GET /totals"),
)
"""Resource path (`~1` stands for a slash), method, the parameters' prefix, requests per second, and what they limit."""
API_PARAMETERS = {
    name: (str(rate), f"{text} of all callers together, {where}{more}")
    for _path, _method, prefix, rate, where in THROTTLES
    for name, text, more in (
        (f"{prefix}RequestsPerSecond", "Requests per second", "; more get a 429"),
        (f"{prefix}Burst", "Requests at once", ""),
    )
}
KEY_PARAMETERS = {
    "KeyRequestsPerSecond": ("100", "Requests per second with one API key; more get a 429"),
    "KeyBurst": ("200", "Requests at once with one API key"),
    "KeyRequestsPerDay": ("1000000", "Requests per day (UTC) with one API key"),
}


def add(template: Template, stage: str) -> None:
    """Add throttling, an API key, IAM policies and error responses to a packaged template, as its routes require."""
    api = template["Resources"][API]["Properties"]
    api["MethodSettings"] = method_settings()
    _add_parameters(template, API_PARAMETERS)
    schemes = api["DefinitionBody"].get("securityDefinitions", {})
    if KEY_SCHEME in schemes:
        _add_parameters(template, KEY_PARAMETERS)
        template["Resources"] |= api_key(stage)
        template["Outputs"]["ApiKeyId"] = {"Value": {"Ref": "ApiKey"}}
    if IAM_SCHEME in schemes:
        api_stage = api["StageName"]
        for name, methods in (("ReadPolicy", READ_METHODS), ("WritePolicy", WRITE_METHODS)):
            template["Resources"][name] = invoke_policy(api_stage, methods)
            template["Outputs"][f"{name}Arn"] = {"Value": {"Ref": name}}
    responses = gateway_responses(_allowed_origin(api["DefinitionBody"]), signed=IAM_SCHEME in schemes)
    if responses:
        api["GatewayResponses"] = responses


def method_settings() -> list[dict[str, Any]]:
    """Return the method settings that throttle the routes."""
    return [
        {
            "ResourcePath": path,
            "HttpMethod": method,
            "ThrottlingRateLimit": {"Ref": f"{prefix}RequestsPerSecond"},
            "ThrottlingBurstLimit": {"Ref": f"{prefix}Burst"},
        }
        for path, method, prefix, *_ in THROTTLES
    ]


def api_key(stage: str) -> dict[str, Any]:
    """Return the resources for one API key and the usage plan of all keys."""
    plan = {
        "UsagePlanName": stage_name(stage),
        "ApiStages": [{"ApiId": {"Ref": API}, "Stage": {"Ref": f"{API}.Stage"}}],
        "Throttle": {"RateLimit": {"Ref": "KeyRequestsPerSecond"}, "BurstLimit": {"Ref": "KeyBurst"}},
        "Quota": {"Limit": {"Ref": "KeyRequestsPerDay"}, "Period": "DAY"},
    }
    return {
        "UsagePlan": {"Type": "AWS::ApiGateway::UsagePlan", "Properties": plan},
        "ApiKey": {"Type": "AWS::ApiGateway::ApiKey", "Properties": {"Name": stage_name(stage), "Enabled": True}},
        "ApiKeyInPlan": {
            "Type": "AWS::ApiGateway::UsagePlanKey",
            "Properties": {"KeyId": {"Ref": "ApiKey"}, "KeyType": "API_KEY", "UsagePlanId": {"Ref": "UsagePlan"}},
        },
    }


def invoke_policy(api_stage: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """Return a managed policy that allows requests with these methods, to attach to users and roles."""
    api = f"arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:${{{API}}}"
    statement = {
        "Effect": "Allow",
        "Action": ["execute-api:Invoke"],
        "Resource": [{"Fn::Sub": f"{api}/{api_stage}/{method}/*"} for method in methods],
    }
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]}},
    }


def gateway_responses(origin: str | None, *, signed: bool) -> dict[str, Any]:
    """Return API Gateway's own error responses by type, where they differ from its defaults.

    With an allowed origin, add the CORS header to errors, because a browser hides responses without it from a page.
    Return the app's own 404 for a missing route, unless requests must be `signed`: API Gateway uses one response type
    for both a missing route and a missing signature.
    """
    parameters = {"ResponseParameters": {"Headers": {"Access-Control-Allow-Origin": f"'{origin}'"}}} if origin else {}
    responses: dict[str, Any] = {kind: parameters for kind in ("DEFAULT_4XX", "DEFAULT_5XX") if origin}
    if not signed:
        responses["MISSING_AUTHENTICATION_TOKEN"] = {
            "StatusCode": 404,
            "ResponseTemplates": {"application/json": json.dumps(ROUTE_NOT_FOUND) + "\n"},
            **parameters,
        }
    return responses


def _allowed_origin(definition: dict[str, Any]) -> str | None:
    """Return the CORS origin that Chalice wrote into the preflight responses, or None."""
    preflight = definition["paths"]["/orders"].get("options")
    if preflight is None:
        return None
    parameters = preflight["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"]
    origin: str = parameters["method.response.header.Access-Control-Allow-Origin"]
    return origin.strip("'")


def _add_parameters(template: Template, parameters: dict[str, tuple[str, str]]) -> None:
    for name, (default, description) in parameters.items():
        template["Parameters"][name] = {
            "Type": "Number",
            "Default": default,
            "MinValue": 1,
            "Description": description,
        }
