// Shared by all fragment shaders of the person: noise, and which points of a surface are cut away.
// p: position, n: normal, c: position on the undeformed head (dm), a: `aux` of Surfaces; see surfaces.py.
in vec3 p; in vec3 n; in vec3 c; in vec4 a; in vec4 in_light; in vec4 in_other;
uniform sampler3D noise_grid;
uniform float seed;
uniform vec4 hairline;      // height at the forehead, slope to the nape, temples, unused
uniform vec4 hair_shape;    // opening angle at the face, hangs (0/1), length and half angle of the fringe
uniform vec4 hair_strand;   // waves, frequency of strands, raggedness of the edge, slant of the fringe
uniform vec4 neckline;      // height of the collar in front and at the side, depth and half width of the V
uniform float lash_density;

vec4 noise(vec3 q) { return texture(noise_grid, q / 32.0); }
// Distance inside the hairline of a point q on the skull, in dm (negative: bare skin).
float scalp(vec3 q) {
    float x = abs(q.x);
    float front = hairline.x + hairline.z * smoothstep(0.25, 0.65, x) * smoothstep(0.2, 1.0, q.z);
    float sideburn = 0.35 * smoothstep(0.2, 0.0, abs(q.z - 0.78)) * smoothstep(0.5, 0.7, x);
    return 0.75 * (q.y - front - hairline.y * (q.z - 1.35) + sideburn);
}
float waved(vec4 hair) { return hair.x + 0.02 * hair_strand.x * sin(40.0 * hair.y + seed); }
// Distance inside the edge of the hair. hair: angle around the head, fraction of the way from crown to tips.
float hair_inside(vec3 q, vec4 hair) {
    float angle = waved(hair) * hair_strand.y;
    float strand = noise(vec3(angle, hair.y * 4.0, seed)).r - 0.5;
    strand += 0.5 * noise(vec3(angle * 2.7, hair.y * 7.0, seed + 9.0)).g - 0.25;
    float middle = abs(hair.x - 0.3 * hair_strand.w);
    float fringe = hair_shape.z * smoothstep(hair_shape.w, 0.6 * hair_shape.w, middle);
    float inside = scalp(q) + fringe * (1.0 + hair_strand.w * hair.x);
    if (hair_shape.y > 0.5) {
        inside = max(inside, 0.8 * (abs(hair.x) - hair_shape.x));
        inside = min(inside, 4.0 * (1.0 - hair.y));
    }
    return inside + hair_strand.z * strand;
}
float cloth_inside(vec3 q) {
    float top = mix(neckline.y, neckline.x, smoothstep(-0.5, 1.3, q.z));
    top -= neckline.z * max(0.0, 1.0 - abs(q.x) / neckline.w) * step(0.5, q.z);
    return top + 1.5 * smoothstep(0.75, 1.0, abs(q.x)) - q.y;
}
bool missing() {
    if (KIND == LASH) return fract(a.x * 123.0 + 0.3 * a.y) > lash_density * (a.y > 0.5 ? 0.45 : 1.0);
    if (KIND == HAIR) return hair_inside(c, a) < 0.0;
    if (KIND == CLOTHES) return cloth_inside(c) < 0.0;
    return false;
}
