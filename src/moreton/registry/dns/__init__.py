"""The registry as a DNS server: for programs that know nothing of Moreton.

Use it where a resolver is all that a program has: HAProxy's `server-template`, Prometheus'
`dns_sd_configs`, nginx, a shell. Not where the SDK or a proxy can be had: those are told of every
change, know weights and zones, and need not ask again.

Names, as Consul's, below each of the server's domains; letters of either case:

- `[tag.]orders.service[.zone].moreton`: A, AAAA, SRV, TXT
- `_orders._tcp[.service][.zone].moreton`, `_orders._tag…`: SRV, as RFC 2782 has it
- `0a000007.addr.moreton`: the address itself, which SRV records point to
- the reverse names of all instances' addresses: PTR

Guarantees: only instances that serve are named; what does not fit into a datagram says so (TC) and
is whole over TCP; nothing is answered or forwarded that is not the server's own, unless told to.
"""

from moreton.registry.dns.answers import DnsSettings
from moreton.registry.dns.responder import DnsStatistics, Responder
from moreton.registry.dns.server import DnsServer, dns_sockets

__all__ = ["DnsServer", "DnsSettings", "DnsStatistics", "Responder", "dns_sockets"]
