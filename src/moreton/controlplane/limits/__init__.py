"""Limits as the control plane has them: shown, told to services, bans and resets in the store."""
