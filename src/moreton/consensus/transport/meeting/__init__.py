"""How two nodes come to talk: dialing, answering, and proving who they are."""
