"""What `fleetwatch doctor` looks at: one module per subject, each answering with findings in words."""
