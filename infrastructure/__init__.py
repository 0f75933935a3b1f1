"""What stands around the app in AWS: its tables, its template, its failure queue."""
