"""`make demo`: count a stream with the tutorials' plain ADD and with this app, and inject the same faults into both."""
