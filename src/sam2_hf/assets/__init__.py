"""Files that travel with the package; LICENCES.md says where each is from."""
