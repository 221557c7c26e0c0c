"""What stands on disk: files that are whole or not there, and folders that belong to one run."""
