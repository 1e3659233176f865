"""Pure: resources, snapshots, and the machine that orders their delivery."""
