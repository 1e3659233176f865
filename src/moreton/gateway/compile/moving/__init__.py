"""Routes whose requests move to another service: who goes where, and what is counted apart."""
