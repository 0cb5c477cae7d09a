// Position of the same surface point in the other frame, and whether that frame shows it there.
out vec4 flow;
uniform sampler2D other_depth;
void main() {
    if (missing()) discard;
    vec3 q = in_other.xyz / in_other.w;
    float inside = step(max(abs(q.x), abs(q.y)), 1.0);
    float nearest = texture(other_depth, q.xy * 0.5 + 0.5).r;
    flow = vec4(q.xy, inside * step(q.z * 0.5 + 0.5, nearest), 1.0);
}
