"""The ways to keep a total that are compared, each as those who use it write it.

A way is a module: its docstring's first line names it and the rest says where it comes from; `TABLES` are the key
attributes of its tables by name, `TOTAL` is where its total stands (table, key attribute, attribute), and
`handler(event, context)` is the Lambda handler. Its clients are made when it is imported, as in Lambda.
"""

NAMES = ("ours", "update_item", "guidance", "powertools", "marker")
"""All ways, ours first."""
