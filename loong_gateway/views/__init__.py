"""What commands and the port show of channels and of the whole: JSON documents with stable fields."""
