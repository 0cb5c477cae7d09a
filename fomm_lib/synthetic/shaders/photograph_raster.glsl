// The value at a pixel, and 1: something is there.
in float v;
out vec2 result;
void main() { result = vec2(v, 1.0); }
