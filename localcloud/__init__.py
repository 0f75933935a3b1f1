"""The whole app on one machine: the packaged app in an emulator of AWS, and `chalice local` on the same tables."""
