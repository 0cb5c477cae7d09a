// Triangles given in the image: x and y from -1 to 1, depth from -1 (near) to 1, and a value.
in vec3 place; in float value;
out float v;
void main() { v = value; gl_Position = vec4(place, 1.0); }
