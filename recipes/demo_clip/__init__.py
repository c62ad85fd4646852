"""The clip that ships with the program: a camera moved over a shot of Big Buck Bunny, so that what is true of it is known."""
