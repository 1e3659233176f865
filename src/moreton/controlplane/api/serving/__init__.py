"""HTTP servers: what is plain is answered by a desk, all else by an application."""
