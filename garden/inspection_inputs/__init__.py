"""Where an inspection's network, pictures and answers come from: runs, the catalogue, files, folders, servers."""
