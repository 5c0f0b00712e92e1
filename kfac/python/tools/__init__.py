"""Programs that help with kfac and are not needed to train."""
