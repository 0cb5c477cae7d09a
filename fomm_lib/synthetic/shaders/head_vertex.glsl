// Vertices of the person. `other`: the position in the other frame, for true motion.
in vec3 position; in vec3 normal; in vec3 canonical; in vec4 aux; in vec3 other;
uniform mat4 view_projection; uniform mat4 other_projection; uniform mat4 light_projection;
out vec3 p; out vec3 n; out vec3 c; out vec4 a; out vec4 in_light; out vec4 in_other;
void main() {
    p = position; n = normal; c = canonical; a = aux;
    in_light = light_projection * vec4(position, 1.0);
    in_other = other_projection * vec4(other, 1.0);
    gl_Position = view_projection * vec4(position, 1.0);
}
