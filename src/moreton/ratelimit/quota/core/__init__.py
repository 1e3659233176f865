"""How gateways divide a limit among themselves: pure, told what happened."""
