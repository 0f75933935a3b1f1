"""The app's AWS resources besides its functions and routes: tables, failure queue, alarms, access, permissions."""
