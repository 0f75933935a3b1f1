"""`make demo`: count one stream with the tutorials' plain ADD and with this app, and hit both with the same faults."""
