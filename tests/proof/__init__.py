"""Tests that totals stay exact: fault schedules, broken rules, races, failing DynamoDB requests, hostile HTTP."""
