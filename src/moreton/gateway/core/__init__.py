"""Pure: what a gateway is told, how routes rank, clash and match."""
