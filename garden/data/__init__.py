"""From files to pixels: scan a folder, say what is wrong with it, split it, decode it."""
