"""Results as pictures, label files and videos."""
