"""What a connector is made of: plain Python, knowing neither Django nor the rest of the product."""
