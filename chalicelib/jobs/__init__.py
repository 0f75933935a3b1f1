"""The jobs that run beside the stream: backfill and audit."""
