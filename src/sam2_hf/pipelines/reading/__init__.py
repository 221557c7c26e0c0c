"""Pictures and videos from wherever they are: files, folders, lists, addresses, archives, data sets."""
