"""From a batch of stream records to committed transactions."""
