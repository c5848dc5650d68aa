"""The control loop: observe, compare with what is desired, repair, sample."""
