"""Files: written atomically, mapped into memory, protected by checksums; the paths and outputs of commands."""
