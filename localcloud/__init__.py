"""Run the whole app on one machine: the packaged app in an AWS emulator, and `chalice local` on the same tables."""
