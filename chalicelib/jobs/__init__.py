"""The jobs: backfill, audit and daily audit. They run beside the stream handler."""
