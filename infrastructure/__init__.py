"""The app's AWS resources besides its functions and routes: tables, bucket, alarms, access, permissions."""
