"""Count a batch of stream records: read the records, plan the changes, and commit them in transactions."""
