"""Several control planes over one store: who they are, what they agree on, who leads.

Every node serves its own Envoy, reads and the API, and follows the store; what is to be done once
for all is done by the leader. A control plane whose store no one shares is a cluster of itself.
"""
