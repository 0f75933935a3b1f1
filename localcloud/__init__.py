"""The whole app on one machine: the packaged template in an emulator of AWS, and `chalice local` beside it."""
