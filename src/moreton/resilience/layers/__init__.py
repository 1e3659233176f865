"""The layers of a policy: each wraps a call, sync or async, around one decision of the core."""
