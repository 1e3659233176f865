"""The pure machines of ring election: the algorithms, their theory, the member that repairs."""
