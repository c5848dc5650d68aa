"""What is measured against peers and physical limits; prints ratios."""
