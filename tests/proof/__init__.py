"""Tests that totals stay exact under faults, races, failing DynamoDB requests and hostile HTTP requests."""
