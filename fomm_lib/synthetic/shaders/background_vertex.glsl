// One triangle that covers the image, behind everything.
out vec2 q;
void main() {
    q = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0;
    gl_Position = vec4(q, 0.9999999, 1.0);
}
