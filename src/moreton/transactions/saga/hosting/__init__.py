"""The hosts that drive sagas: threads and coroutines over the same machine."""
