// Position of the same point in the other frame, and whether that frame shows it there.
out vec4 flow;
uniform sampler2D other_depth;
void main() {
    if (missing()) discard;
    vec3 q = in_other.xyz / in_other.w;
    float seen = step(max(abs(q.x), abs(q.y)), 1.0);
    seen *= step(q.z * 0.5 + 0.5, texture(other_depth, q.xy * 0.5 + 0.5).r);
    if (k == SKIN && blink > 0.3 && lid > 0.12) seen = 0.0;      // the texture of closing lids changes
    flow = vec4(q.xy, seen, float(k) + 1.0);
}
