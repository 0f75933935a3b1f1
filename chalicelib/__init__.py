"""The core of Order Totals: it validates orders, decides what to count, and plans the DynamoDB requests.

It makes no AWS calls and uses no clock, environment variables or other I/O; app.py does.
"""
