// Colour of a body, an animal or a vehicle: albedo and pattern by material, then light, shadow, highlights.
out vec4 colour;
uniform sampler2D shadow_map;
uniform vec3 eye_point;
uniform vec3 lamp_direction[3]; uniform vec3 lamp_colour[3]; uniform vec3 sky; uniform vec3 ground;
uniform float shadow_strength; uniform float exposure; uniform float unlit;
uniform vec3 second;        // second colour of a coat or a cloth
uniform vec4 pattern;       // kind (0 none, 1 patches, 2 spots, 3 stripes, 4 checks), frequency, cover, unused
const float CLOTH = 0.5, BARE = 1.5, FUR = 2.5, PAINT = 3.5, PANE = 4.5;    // upper ends of the codes

float shadow(vec3 normal) {
    vec3 q = in_light.xyz * 0.5 + 0.5;
    if (any(lessThan(q, vec3(0.0))) || any(greaterThan(q, vec3(1.0)))) return 1.0;
    float bias = 0.003 + 0.01 * (1.0 - max(dot(normal, lamp_direction[0]), 0.0));
    return mix(1.0, step(q.z - bias, texture(shadow_map, q.xy).r), shadow_strength);
}
float covered() {
    float f = pattern.y;
    if (pattern.x > 3.5) return 0.5 * step(0.5, fract(c.x * f)) + 0.5 * step(0.5, fract(c.y * f));
    if (pattern.x > 2.5) return step(0.5, fract(c.y * f + 0.6 * noise(c * f).g * step(0.0, pattern.w)));
    if (pattern.x > 1.5) return smoothstep(0.62, 0.66, noise(c * f * 2.0 + seed).r + pattern.z - 0.5);
    return smoothstep(0.5, 0.54, noise(c * f * 0.7 + seed).r + pattern.z - 0.5);
}
void main() {
    vec3 to_eye = normalize(eye_point - p), normal = normalize(n), albedo = a.rgb;
    if (dot(normal, to_eye) < 0.0) normal = -normal;
    float shine = 0.0, power = 20.0, wrap = 0.1;
    bool patterned = pattern.x > 0.5;
    if (a.w < CLOTH) {
        if (patterned) albedo = mix(albedo, second, covered());
        albedo *= 0.85 + 0.3 * noise(c * 5.0 + seed).r;
        normal = normalize(normal + 0.7 * (noise(c * 3.0 + seed).rgb - 0.5));
    } else if (a.w < BARE) {
        albedo *= 0.93 + 0.14 * noise(c * 4.0 + seed).r;
        wrap = 0.25; shine = 0.2;
    } else if (a.w < FUR) {
        if (patterned) albedo = mix(albedo, second, covered());
        float strand = noise(c * vec3(9.0, 9.0, 4.0) + seed).g;
        albedo *= 0.75 + 0.5 * strand;
        normal = normalize(normal + 0.5 * (noise(c * 6.0 + seed).rgb - 0.5));
        wrap = 0.2; shine = 0.15;
    } else if (a.w < PAINT) {
        shine = 1.0; power = 60.0;
    } else if (a.w < PANE) {
        shine = 1.5; power = 90.0;
    }
    float lit = shadow(normalize(n));
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y), gloss = vec3(0.0);
    float facing = max(dot(normal, to_eye), 0.0), fresnel = 0.04 + 0.5 * pow(1.0 - facing, 5.0);
    for (int i = 0; i < 3; i++) {
        vec3 l = lamp_direction[i], h = normalize(l + to_eye);
        vec3 strength = lamp_colour[i] * (i == 0 ? lit : 1.0);
        float cosine = dot(normal, l);
        light += strength * max((cosine + wrap) / (1.0 + wrap), 0.0);
        if (shine > 0.0)
            gloss += strength * shine * (power + 8.0) / 25.0 * pow(max(dot(normal, h), 0.0), power) * fresnel;
    }
    if (a.w > FUR && a.w < PANE) {      // paint and panes mirror the sky above and the ground below
        vec3 mirrored = reflect(-to_eye, normal);
        float share = a.w > PAINT ? fresnel + 0.12 : 0.4 * fresnel;
        gloss += share * mix(0.5 * ground, 1.6 * sky, smoothstep(-0.1, 0.35, mirrored.y));
    }
    vec3 result = (albedo * light + gloss) * exposure;
    result *= (1.0 + 0.08 * result) / (1.0 + 0.4 * result);    // compress highlights, as video cameras do
    if (unlit > 0.5) result = albedo;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
