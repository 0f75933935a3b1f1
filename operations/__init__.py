"""Commands for operators: run a deployed stage's jobs to the end and show their progress.

`python -m operations.backfill` and `python -m operations.audit` only invoke the deployed functions. The functions make
all requests to DynamoDB, with their own permissions.
"""
