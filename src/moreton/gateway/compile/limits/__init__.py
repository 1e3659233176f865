"""Rules of the section `limits` as Envoy's filters, so that each proxy keeps them by itself."""
