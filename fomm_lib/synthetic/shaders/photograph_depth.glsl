// Only depth.
void main() { if (missing()) discard; }
