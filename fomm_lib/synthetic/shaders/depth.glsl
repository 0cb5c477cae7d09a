// Only depth. Lashes cast no shadow and hide nothing.
void main() { if (missing() || KIND == LASH) discard; }
