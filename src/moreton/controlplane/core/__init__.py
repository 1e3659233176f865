"""Pure: what is desired of the gateways, and how far each object of it has come."""
