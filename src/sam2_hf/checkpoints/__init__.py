"""Models from wherever they are, by name or file, and their conversion between the layouts."""
