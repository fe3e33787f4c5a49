"""Commands for geologists: wells, figures, textures."""
