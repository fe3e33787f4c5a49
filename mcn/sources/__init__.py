"""Where tiles come from, and what lies beside them."""
