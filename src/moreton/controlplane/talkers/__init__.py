"""Who asks most of the limits of services, as these tell the control plane."""
