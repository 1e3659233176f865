"""What the nodes of a cluster put on a wire, and how they prove who they are. Pure."""
