"""The operator's command line: drives a stage's jobs from cursor to cursor and shows how far they are.

`python -m operations.backfill` and `python -m operations.audit`. What the jobs do is in chalicelib/; their
requests of DynamoDB are made by the deployed functions, with the permissions of those.
"""
