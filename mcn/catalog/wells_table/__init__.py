"""What is known about wells: names, places, and the tops of their formations."""
