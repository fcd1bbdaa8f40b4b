"""How long the laboratory's own work takes, measured beside what it is compared with."""
