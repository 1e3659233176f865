"""The collector: asks a candidate what users asked, compares, and keeps what differs."""
