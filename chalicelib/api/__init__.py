"""The HTTP API: what its routes take and return, who may call them, and its description."""
