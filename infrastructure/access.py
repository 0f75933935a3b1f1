"""What the template has for those who may call the API: throttling, API keys, permissions to attach, errors.

Which routes ask for what is the app's own to say (chalicelib/api/access.py, app.py); here is read what Chalice has made
of it, and what follows from that is added. No key is in the template: API Gateway makes it up.
"""

import json
from typing import Any

from infrastructure.monitoring import stage_name

API = "RestAPI"
KEY_SCHEME = "api_key"
IAM_SCHEME = "sigv4"
"""What Chalice calls them in the API's definition."""

READING = ("GET",)
WRITING = ("POST", "PUT", "DELETE")

NO_SUCH_ROUTE = {
    "Code": "NotFoundError",
    "Message": "There is no route with this method and path. GET /openapi.json lists the routes.",
}

Template = dict[str, Any]

# All callers together. Without it the API has what the account has for all its APIs, 10,000 a second (API Gateway
# quotas), and so one that is open could take all the others down, and run up a bill.
API_PARAMETERS = {
    "ApiRequestsPerSecond": ("1000", "What all callers of the API together may ask of it; beyond that they get a 429"),
    "ApiBurst": ("500", "How many requests at once"),
}
KEY_PARAMETERS = {
    "KeyRequestsPerSecond": ("100", "What the callers with one API key may ask of the API; beyond that they get a 429"),
    "KeyBurst": ("200", "How many requests at once"),
    "KeyRequestsPerDay": ("1000000", "How many requests in a day, from midnight to midnight UTC"),
}


def add(template: Template, stage: str) -> None:
    """Adds it to a packaged template."""
    api = template["Resources"][API]["Properties"]
    api["MethodSettings"] = [method_settings()]
    _parameters(template, API_PARAMETERS)
    schemes = api["DefinitionBody"].get("securityDefinitions", {})
    if KEY_SCHEME in schemes:
        _parameters(template, KEY_PARAMETERS)
        template["Resources"] |= api_key(stage)
        template["Outputs"]["ApiKeyId"] = {"Value": {"Ref": "ApiKey"}}
    if IAM_SCHEME in schemes:
        api_stage = api["StageName"]
        for name, methods in (("ReadPolicy", READING), ("WritePolicy", WRITING)):
            template["Resources"][name] = permission(api_stage, methods)
            template["Outputs"][f"{name}Arn"] = {"Value": {"Ref": name}}
    responses = gateway_responses(_allowed_origin(api["DefinitionBody"]), signed=IAM_SCHEME in schemes)
    if responses:
        api["GatewayResponses"] = responses


def method_settings() -> dict[str, Any]:
    """The throttling of all routes together."""
    return {
        "ResourcePath": "/*",
        "HttpMethod": "*",
        "ThrottlingRateLimit": {"Ref": "ApiRequestsPerSecond"},
        "ThrottlingBurstLimit": {"Ref": "ApiBurst"},
    }


def api_key(stage: str) -> dict[str, Any]:
    """A first API key, and the usage plan that it and all others belong to."""
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


def permission(api_stage: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """A policy that allows calls of these methods, to attach to the users and roles that may make them."""
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

    With an allowed origin, errors have the header without which a browser hides them from a page. A missing route is
    a 404 in the app's form, unless routes must be `signed`: API Gateway has one response type for a missing route and
    for a missing signature.
    """
    parameters = {"ResponseParameters": {"Headers": {"Access-Control-Allow-Origin": f"'{origin}'"}}} if origin else {}
    responses: dict[str, Any] = {kind: parameters for kind in ("DEFAULT_4XX", "DEFAULT_5XX") if origin}
    if not signed:
        responses["MISSING_AUTHENTICATION_TOKEN"] = {
            "StatusCode": 404,
            "ResponseTemplates": {"application/json": json.dumps(NO_SUCH_ROUTE) + "\n"},
            **parameters,
        }
    return responses


def _allowed_origin(definition: dict[str, Any]) -> str | None:
    """The origin that Chalice has the routes' preflight requests answered with."""
    preflight = definition["paths"]["/orders"].get("options")
    if preflight is None:
        return None
    answer = preflight["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"]
    origin: str = answer["method.response.header.Access-Control-Allow-Origin"]
    return origin.strip("'")


def _parameters(template: Template, wanted: dict[str, tuple[str, str]]) -> None:
    for name, (default, description) in wanted.items():
        template["Parameters"][name] = {
            "Type": "Number",
            "Default": default,
            "MinValue": 1,
            "Description": description,
        }
