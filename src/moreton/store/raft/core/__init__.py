"""What every node of the cluster does alike: commands, the state they change, its snapshots."""
