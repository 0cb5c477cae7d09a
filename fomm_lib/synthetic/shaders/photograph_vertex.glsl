// Vertices of a photograph's layers. `other`: the position in the other frame, for true motion.
// texture_point: x and y in the images, and how much a blink moves the vertex.
in vec3 position; in vec3 other; in vec3 texture_point; in vec3 canonical; in float kind;
uniform mat4 projection;
out vec2 t; out float lid; out vec3 c; out vec4 in_other; flat out int k;
// Eyes and the inside of the mouth lie some millimetres farther back, or they would pierce lids and lips.
vec4 seen(vec3 p) {
    vec4 q = projection * vec4(p, 1.0);
    if (k == CAVITY || k == TEETH || k == TONGUE || k == EYE) q.z += BEHIND * q.w;
    return q;
}
void main() {
    t = texture_point.xy; lid = texture_point.z; c = canonical; k = int(kind + 0.5);
    in_other = seen(other);
    gl_Position = seen(position);
}
