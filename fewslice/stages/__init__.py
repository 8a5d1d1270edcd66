"""What each training script does, from its flags to its finished run directory."""
