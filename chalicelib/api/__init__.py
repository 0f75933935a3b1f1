"""The HTTP API: its parameters, responses, access settings and OpenAPI document."""
