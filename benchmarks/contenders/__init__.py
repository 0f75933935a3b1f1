"""The stream handlers that `make bench` compares, each written as its users write it.

Each contender is a module. The first line of its docstring is its title and the rest says where it comes from.
`TABLES` has the key attributes of its tables by name, `TOTAL` says where its total is (table, key attribute,
attribute), and `handler(event, context)` is the Lambda handler. Clients are created on import, as in Lambda.
"""

NAMES = ("ours", "update_item", "guidance", "powertools", "marker")
"""All contenders, Order Totals first."""
