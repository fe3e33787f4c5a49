"""Files of single tiles: label images, and outlines for programs that open one picture."""
