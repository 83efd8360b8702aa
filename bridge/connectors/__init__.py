"""Where something is done about an ending: authorization servers, and those who must be told. One file each."""
