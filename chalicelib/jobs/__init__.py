"""The jobs: backfill, audit and daily audit. They run alongside the stream handler."""
