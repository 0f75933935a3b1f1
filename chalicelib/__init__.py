"""The core of Order Totals: what is valid, what is counted, what is asked of DynamoDB.

No AWS call, clock, environment or other I/O lives here; those are app.py's.
"""
